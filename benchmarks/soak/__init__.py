"""The test bench: load with percentiles, faults, fuzzing, memory over time; and what the service promises under them.

mix.py             what callers ask, serialised beforehand, and the answers that are right
ask.py             one request over gRPC, a stream or REST, and the one bucket that it ends in
load.py            closed and open loops, knee.py where they bend
faults.py          killed workers and JVMs, reloads; hostile_clients.py: slow, half-open and leaving callers
memory.py          what each process holds over time
fuzz.py            hostile wire input, from fuzz_messages.py, fuzz_rest.py and fuzz_sockets.py
phases.py          what is done to the service and which promises that tries; run.py does it and reports
"""
