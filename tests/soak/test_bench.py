"""What the bench concludes: from kills, from memory over time, from hostile requests; by hand where it can be."""

import asyncio
import json
import os
import subprocess
import sys

import grpc
import pytest

from benchmarks.soak import report
from benchmarks.soak.ask import OK
from benchmarks.soak.bench import Findings, by_model, unaccounted
from benchmarks.soak.faults import Fault, Faults
from benchmarks.soak.fuzz import Fuzzer, attempts
from benchmarks.soak.fuzz_messages import KINDS, filled, messages, split, varint
from benchmarks.soak.load import Load, Outcome
from benchmarks.soak.memory import Held, Memory, Sample
from benchmarks.soak.phases import _answered, _recovery, _waited
from benchmarks.soak.run import broken
from showcause.v1 import service_pb2
from tests.processes import alive, children, resident_mb, wait_for_end
from tests.soak.conftest import reply


def outcome(bucket: str, sent: float = 0.0, ended: float = 10.0, kind: str = "a") -> Outcome:
    return Outcome(kind, bucket, sent, sent, ended)


def test_a_failure_is_accounted_for_by_a_refusal_or_by_kills():
    faults = Faults(0, "", None, [Fault(at, "worker killed") for at in (5.0, 25.0)])
    faults.done += [Fault(7.0, "reloaded m"), Fault(40.0, "JVM killed")]
    known = [outcome(OK), outcome("RESOURCE_EXHAUSTED/QUEUE_FULL"), outcome("DEADLINE_EXCEEDED/DEADLINE_TOO_SHORT")]
    known += [outcome("INTERNAL/WORKER_DIED", ended=30.0), outcome("DEADLINE_EXCEEDED/DEADLINE_EXCEEDED", 39.0, 69.0)]
    odd = [
        outcome("INTERNAL/WORKER_DIED", ended=20.0),  # one kill alone takes no request with it
        outcome("UNAVAILABLE/ENGINE_UNAVAILABLE"),
        outcome("DEADLINE_EXCEEDED/DEADLINE_EXCEEDED", 6.5, 20.0),  # nobody was killed meanwhile
        outcome("RESOURCE_EXHAUSTED/QUEUE_FULL without a delay"),
        outcome("INTERNAL/INTERNAL"),
        outcome("TRANSPORT/UNAVAILABLE"),
        outcome("LOST/no answer"),
    ]
    assert unaccounted(Load([*known, *odd]), faults) == odd


def test_what_a_stopping_service_may_say():
    assert _answered(outcome(OK))
    assert _answered(outcome("UNAVAILABLE/ENGINE_UNAVAILABLE", 4.9, 5.0))
    assert not _answered(outcome("UNAVAILABLE/ENGINE_UNAVAILABLE", 1.0, 9.0)), "it was accepted"
    assert not _answered(outcome("TRANSPORT/UNAVAILABLE", 4.9, 5.0))


def test_recovery_is_when_every_model_answers_again():
    bcos, cnn, parts = ("animals-bcos explain", "animals-cnn predict", "animals-parts explain")
    before, late = outcome(OK, 0.0, 12.0, bcos), outcome("UNAVAILABLE/ENGINE_UNAVAILABLE", 11.0, 11.1, bcos)
    again = [outcome(OK, 14.0, 15.0, cnn), outcome(OK, 16.0, 17.5, bcos), outcome(OK, 12.0, 16.0, parts)]
    assert _recovery(Load([before, late, *again]), 10.0) == 7.5
    assert _recovery(Load([before, late, *again[:2]]), 10.0) is None, "animals-parts was never answered"


def test_a_bound_on_waiting_comes_from_a_model_s_own_throughput():
    load = Load([outcome(OK, 0.0, float(n), "m explain") for n in range(1, 101)], wall_seconds=50.0)
    load.outcomes += [outcome(OK, 0.0, 900.0, "other explain"), outcome("INTERNAL/INTERNAL", 0.0, 900.0, "m explain")]
    assert _waited(load, "m", 64) == (99.0, 2 * 64 / 2)  # two a second


def test_metrics_are_read_by_model():
    text = '# HELP x y\nx{model="a",code="1"} 2.0\nx{model="a",code="2"} 3.0\nx{model="b"} 1\nxy{model="a"} 9\nz 4\n'
    assert by_model(text, "x") == {"a": 5, "b": 1}
    assert by_model(text, "z") == {"": 4}


def test_growth_is_between_quarters_after_the_warm_up_and_by_process():
    warm, leaking = [500.0] * 10, [100.0 + n for n in range(20)]
    samples = [Sample(float(at), rss, rss) for at, rss in enumerate([*warm, *leaking])]
    assert Held("worker", samples).growth_mb(10) == 117 - 102  # medians of 100..104 and of 115..119
    assert Held("worker", samples[:14]).growth_mb(10) is None, "too short a life"
    memory = Memory(0, 1.0)
    memory.held = {1: Held("worker", samples), 2: Held("worker", samples[:20]), 3: Held("jvm", samples[:10])}
    assert memory.growth_mb(10) == {"worker": 15}
    assert [life["role"] for life in memory.lives()] == ["worker", "worker", "jvm"]
    numbers = {"seconds": 29, "first_rss_mb": 500, "most_rss_mb": 500, "last_rss_mb": 119, "last_pss_mb": 119}
    assert memory.lives()[0] == {"role": "worker"} | numbers


def test_memory_is_watched_and_processes_found():
    below = "subprocess.Popen([sys.executable, '-c', 'input()'])"
    script = f"import subprocess, sys, time; {below}; print(1, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    process.stdout.read(1)
    below = children(process.pid)
    assert len(below) == 1
    assert process.pid in children(os.getpid())
    with Memory(process.pid, 0.02) as memory:
        while not memory.held or len(memory.held[process.pid].samples) < 10:
            pass
    assert memory.held[process.pid].role == "gateway"
    assert 1 < resident_mb(process.pid) < 100
    process.kill()
    process.wait()
    process.stdin.close()  # the end of the other's input, too
    process.stdout.close()
    assert wait_for_end([process.pid, *below], 10) == []
    assert alive([os.getpid(), process.pid]) == [os.getpid()]
    with pytest.raises(OSError):
        resident_mb(process.pid)


def drawn(seed: int, count: int) -> list[tuple[str, str, object]]:
    made = attempts(["127.0.0.1:1"], seed)
    return [(each.what, each.target, each.sent) for each in (next(made) for _ in range(count))]


def test_hostile_requests_are_the_same_for_a_seed_and_hardly_ever_repeat():
    first = drawn(1, 400)
    assert first == drawn(1, 400)
    assert first != drawn(2, 400)
    assert {what for what, *_ in first} == {"message", "photo", "rest", "socket"}
    assert len({ascii(each) for each in first}) > 350


def test_random_messages_reach_every_method_and_stay_messages():
    import random

    rng, seen = random.Random(0), set()
    for _ in range(300):
        message = filled(service_pb2.ExplainRequest, [b"photo"], rng)
        data = message.SerializeToString()
        assert b"".join(split(data)) == data
        seen |= {method.WhichOneof("method") for method in message.methods}
        seen |= {target.WhichOneof("target") for target in message.targets}
    methods = set(service_pb2.ExplainRequest.DESCRIPTOR.fields_by_name["methods"].message_type.fields_by_name)
    assert methods <= seen
    assert {"neuron", "difference", "top_k", None} <= seen
    made = messages([b"photo"], rng)
    assert {path.rsplit("/", 1)[1] for path, _ in (next(made) for _ in range(300))} == set(KINDS)
    assert varint(300) == b"\xac\x02"


def test_the_fuzzer_finds_a_service_that_breaks_and_says_where(asker, run):
    """Every tenth request is INTERNAL, and streams hang up."""
    count = 0

    async def unary(data, context):
        nonlocal count
        count += 1
        if count % 10 == 0:
            await context.abort(grpc.StatusCode.INTERNAL, "boom")
        return reply("x").SerializeToString()

    async def stream(incoming, context):
        async for _ in incoming:
            return
        yield b""

    async def fuzz():
        async with asker(unary=unary, stream=stream) as one:
            return await Fuzzer(one.address, f"http://{one.address}", f"http://{one.address}").run(200, 3)

    fuzzed = run(fuzz())
    assert fuzzed.outcomes.total() == 200
    internal = [fault for fault in fuzzed.faults if fault.startswith("INTERNAL")]
    assert len(internal) == count // 10 > 3
    assert "seed 3, " in internal[0]
    assert any(fault.startswith("no answer") for fault in fuzzed.faults), "streams that end without an event"


def test_reports_name_what_was_broken(tmp_path):
    findings = Findings("soak", figures={"growth_mb": {"worker": float("nan")}})
    findings.promise("0 lost", False, "3 lost | of 9")
    findings.promise("fast", False, "it was not", timed=True)
    findings.promise("models were reloaded", [1], "once")
    assert broken([findings], timed=False) == ["soak: 0 lost: 3 lost | of 9"]
    assert len(broken([findings])) == 2
    report.write([findings], tmp_path, "0.1.0-soak", {"machine": "m", "showcause": "0", "seed": 0, "setting": "short"})
    record = json.loads((tmp_path / "0.1.0-soak.json").read_text())
    assert record["phases"][0]["figures"]["growth_mb"]["worker"] is None
    assert record["phases"][0]["promises"][2]["kept"] is True
    text = (tmp_path / "0.1.0-soak.md").read_text()
    assert "| soak | 0 lost | NO | 3 lost \\| of 9 |" in text


def test_what_is_done_meanwhile_may_not_fail_in_silence(run):
    from benchmarks.soak.phases import meanwhile

    async def fail():
        raise LookupError("no such worker")

    async def phase():
        async with meanwhile(fail()):
            await asyncio.sleep(0.01)

    with pytest.raises(LookupError):
        run(phase())
