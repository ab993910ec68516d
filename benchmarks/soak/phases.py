"""What is done to the service, one thing after the other, and the promises that each of them tries.

A phase takes a running bench and leaves the service as it was; `drain` ends it.
"""

import asyncio
import math
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict

from benchmarks.soak.ask import OK
from benchmarks.soak.bench import MODELS, Bench, Findings, account
from benchmarks.soak.faults import every
from benchmarks.soak.fuzz import Fuzzer
from benchmarks.soak.hostile_clients import HostileClients
from benchmarks.soak.knee import find_knee
from benchmarks.soak.load import Load, Outcome, percentile, summary
from tests.processes import wait_for_end

RUSH = 2.0  # of the capacity: more than can be borne, so that much is in hand
REFUSAL_SECONDS = 0.05
NEARLY = 0.85  # of the speed before, for what is to be as fast as before: two runs differ by that on a shared machine
AT_ONCE_SECONDS = 1.0  # a call that a stopping service refuses, it refuses before that


@asynccontextmanager
async def meanwhile(*works: Awaitable[None]) -> AsyncIterator[None]:
    """Runs them while the body runs; what goes wrong with them is raised here."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def knee(bench: Bench) -> Findings:
    """How much the service can do: everything after this is a share of it."""
    findings = Findings("knee")
    found = await find_knee(bench.generator("knee"), bench.setting.callers, bench.setting.step)
    bench.capacity, bench.knee_callers = found.capacity, found.callers
    findings.figures = {
        "capacity_photos_a_second": found.capacity,
        "callers_at_the_knee": found.callers,
        "steps": [{"callers": callers, **asdict(step)} for callers, step in found.steps],
    }
    return findings


async def soak(bench: Bench) -> Findings:
    """A load that is to be borne, while workers are killed and models reloaded."""
    findings, setting, faults = Findings("soak"), bench.setting, bench.faults
    faults.done.clear()
    names = iter(MODELS * 1000)
    with bench.memory() as memory:
        async with meanwhile(
            every(setting.kill_every, faults.kill_worker, setting.soak),
            every(setting.reload_every, lambda: faults.reload(next(names)), setting.soak),
        ):
            load = await bench.generator("soak").open_loop(setting.share * bench.capacity, setting.soak)
    account(findings, load, faults)
    kills, reloads = len(faults.of("worker killed")), faults.of("reloaded")
    findings.promise("workers were killed", kills >= setting.soak / setting.kill_every - 1, f"{kills} times")
    failed = [fault.what for fault in faults.of("reload failed")]
    findings.promise("models were reloaded", reloads and not failed, f"{len(reloads)} times; failed: {failed}")
    growth = memory.growth_mb(setting.warm_up)
    _promise_growth(findings, growth, setting.growth_mb)
    findings.figures = asdict(summary(load)) | {
        "offered_photos_a_second": setting.share * bench.capacity,
        "kills": kills,
        "reload_seconds": [fault.seconds for fault in reloads],
        "growth_mb": growth,
        "processes": memory.lives(),
        "repeated": await bench.gauge("showcause_repeated_requests_total"),
    }
    return findings


async def hostile(bench: Bench) -> Findings:
    """Half of what can be borne, beside callers that are slow, half there, or leave."""
    findings, setting = Findings("hostile"), bench.setting
    addresses = [url.removeprefix("http://") for url in (bench.running.rest, bench.running.metrics)]
    clients = HostileClients(bench.running.grpc, addresses, bench.mix, random.Random(bench.seed))
    async with meanwhile(clients.run()):
        load = await bench.generator("hostile").open_loop(bench.capacity / 2, setting.hostile)
    account(findings, load, bench.faults)
    left = await _until_idle(bench)
    findings.promise("what they left is not computed on for long", left == 0, f"{left:g} in flight 10 s later")
    wrong = await bench.wrong_answers()
    findings.promise("right answers afterwards", not wrong, wrong or "all")
    findings.figures = asdict(summary(load)) | {"acts": dict(clients.counts)}
    return findings


async def overload(bench: Bench) -> Findings:
    """Twice what the service can do. Streams are left out: they wait by themselves where calls are refused."""
    findings, setting = Findings("overload"), bench.setting
    mix = bench.mix.without("stream")
    before = summary(await bench.generator("before", mix).closed_loop(2 * bench.knee_callers, setting.step))
    waiting: Counter[str] = Counter()
    in_engine: Counter[str] = Counter()

    async def look() -> None:
        nonlocal waiting, in_engine
        waiting |= await bench.gauges("showcause_waiting_requests")
        in_engine |= await bench.gauges("showcause_engine_requests")

    async with meanwhile(every(0.25, look)):
        load = await bench.generator("overload", mix).open_loop(2 * before.throughput, setting.overload)
    after = summary(await bench.generator("after", mix).closed_loop(2 * bench.knee_callers, setting.step))
    account(findings, load, bench.faults)
    found = summary(load)
    most = max(waiting.values(), default=0)
    findings.promise("the queues are bounded", most <= setting.queue, f"{dict(waiting)} waited, of {setting.queue}")
    findings.promise("some are refused", found.refused.count, f"{found.refused.count} of {found.started}", timed=True)
    for model in MODELS:
        p99, bound = _waited(load, model, setting.queue + in_engine[model])
        findings.promise(f"p99 of {model} is bounded", p99 <= bound, f"{p99:.2f} s of {bound:.2f}", timed=True)
    findings.promise(
        "refusals take less than 50 ms",
        not found.refused.p99 > REFUSAL_SECONDS,
        f"p99 {1000 * found.refused.p99:.1f} ms, median {1000 * found.refused.p50:.1f} ms",
        timed=True,
    )
    ratio = after.throughput / before.throughput
    findings.promise("full speed afterwards", ratio >= NEARLY, f"{ratio:.2f} of the speed before", timed=True)
    findings.figures = asdict(found) | {
        "offered_photos_a_second": 2 * before.throughput,
        "most_waiting": dict(waiting),
        "most_in_engine": dict(in_engine),
        "before": asdict(before),
        "after": asdict(after),
    }
    return findings


async def fuzz(bench: Bench) -> Findings:
    """Hostile requests of every kind."""
    findings, setting, running = Findings("fuzz"), bench.setting, bench.running
    before, said = bench.faults.processes("worker"), len(running.lines)
    with bench.memory() as memory:
        fuzzer = Fuzzer(running.grpc, running.rest, running.metrics)
        began = time.monotonic()
        fuzzed = await fuzzer.run(setting.fuzzed, bench.seed)
        seconds = time.monotonic() - began
    done = fuzzed.outcomes.total()
    findings.promise("every request ended", done == setting.fuzzed, f"{done} of {setting.fuzzed}")
    findings.promise("no INTERNAL, no UNKNOWN", not fuzzed.faults, fuzzed.faults[:5] or "none")
    findings.promise("no process died", bench.alive and bench.faults.processes("worker") == before, before)
    odd = [line for line in running.lines[said:] if "Traceback" in line]
    findings.promise("nothing unexpected in the log", not odd, odd[:3] or "no traceback")
    wrong = await bench.wrong_answers()
    findings.promise("right answers afterwards", not wrong, wrong or "all")
    growth = memory.growth_mb(min(setting.warm_up, seconds / 4))  # a quick machine is done before it counts as warm
    _promise_growth(findings, growth, setting.growth_mb)
    findings.figures = {
        "outcomes": dict(fuzzed.outcomes.most_common()),
        "faults": fuzzed.faults,
        "wall_seconds": seconds,
        "growth_mb": growth,
        "processes": memory.lives(),
    }
    return findings


async def jvm(bench: Bench) -> Findings:
    """The engine's JVM is killed under half of what can be borne."""
    findings, setting, faults = Findings("jvm"), bench.setting, bench.faults
    faults.done.clear()
    old = faults.processes("jvm") + faults.processes("worker")

    async def kill() -> None:
        await asyncio.sleep(setting.jvm / 5)
        await faults.kill_jvm()

    async with meanwhile(kill()):
        load = await bench.generator("jvm").open_loop(bench.capacity / 2, setting.jvm)
    findings.promise("the service lives", bench.alive, "it does" if bench.alive else bench.running.lines[-1:])
    if not bench.alive:
        return findings
    account(findings, load, faults)
    (killed,) = faults.of("JVM killed")
    recovered = _recovery(load, killed.at)
    wrong = await bench.wrong_answers()
    when = "in the end" if recovered is None else f"{recovered:.1f} s later"
    findings.promise("it recovers", not wrong, wrong or f"all models answer again, {when}")
    left = wait_for_end(old)
    findings.promise("no process is left behind", not left, f"{left or 'none'} of {old}")
    findings.figures = asdict(summary(load)) | {"recovery_seconds": recovered}
    return findings


async def drain(bench: Bench) -> Findings:
    """SIGTERM in the middle of more than can be borne."""
    findings, setting, process = Findings("drain"), bench.setting, bench.running.process
    below = bench.faults.processes("jvm") + bench.faults.processes("worker")
    over, sent_at, exited_at = asyncio.Event(), 0.0, 0.0

    async def stop() -> None:
        nonlocal sent_at, exited_at
        await asyncio.sleep(setting.drain / 2)
        sent_at = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 3 * setting.timeout)
        exited_at = time.monotonic()
        over.set()

    stopping = asyncio.create_task(stop())
    load = await bench.generator("drain").open_loop(RUSH * bench.capacity, setting.drain / 2 + setting.timeout, over)
    await stopping
    before = [outcome for outcome in load.outcomes if outcome.sent < sent_at]
    in_hand = sum(outcome.ended > sent_at for outcome in before)
    findings.promise("requests are in hand at the signal", in_hand, in_hand)
    odd = [outcome.bucket for outcome in before if not _answered(outcome)]
    findings.promise(
        "all accepted requests are answered", not odd, f"{len(before)} sent before the signal; not so: {odd[:5]}"
    )
    wrong = [outcome.bucket for outcome in load.outcomes if outcome.bucket.startswith("LOST/")]
    findings.promise("no wrong answers while it stops", not wrong, wrong[:5] or "none")
    findings.promise("exit code 0", process.returncode == 0, process.returncode)
    left = await asyncio.to_thread(wait_for_end, below)
    findings.promise("no process is left behind", not left, left or "none")
    files = sorted(path.name for path in bench.home.iterdir())
    findings.promise("no file is left behind", not files, files or "none")
    findings.figures = asdict(summary(load)) | {"drain_seconds": exited_at - sent_at, "in_hand_at_the_signal": in_hand}
    return findings


def _promise_growth(findings: Findings, growth: dict[str, float], most_mb: float) -> None:
    """growth: by role; none for the gateway means that the phase was too short to tell."""
    kept = "gateway" in growth and all(mb < most_mb for mb in growth.values())
    findings.promise(f"no process grows by {most_mb:g} MB", kept, f"largest by role: {growth}", timed=True)


def _answered(outcome: Outcome) -> bool:
    """Right answers; and what came so late that the service, when it looked, had begun to stop: refused at once."""
    refused = outcome.bucket.startswith(("UNAVAILABLE/", "RESOURCE_EXHAUSTED/QUEUE_FULL"))
    return outcome.bucket == OK or (refused and outcome.ended - outcome.sent < AT_ONCE_SECONDS)


def _waited(load: Load, model: str, places: float) -> tuple[float, float]:
    """p99 of a model's accepted requests, and its bound: twice what Little's law says of a queue that is full, because
    requests differ in what they cost."""
    times = [each.ended - each.due for each in load.outcomes if each.kind.startswith(f"{model} ") and each.bucket == OK]
    return percentile(times, 0.99), 2 * places * load.wall_seconds / max(1, len(times))


def _recovery(load: Load, killed_at: float) -> float | None:
    """Seconds until every model had answered something that was sent after the kill."""
    first: dict[str, float] = {}
    for outcome in load.outcomes:
        model = outcome.kind.split()[0]
        if outcome.sent > killed_at and outcome.bucket == OK:
            first[model] = min(outcome.ended, first.get(model, math.inf))
    return max(first.values()) - killed_at if first.keys() == set(MODELS) else None


async def _until_idle(bench: Bench) -> float:
    """Requests in flight when they are none any more, or 10 s later."""
    left = await bench.gauge("showcause_in_flight_requests")
    for _ in range(20):
        if not left:
            break
        await asyncio.sleep(0.5)
        left = await bench.gauge("showcause_in_flight_requests")
    return left


PHASES: dict[str, Callable[[Bench], Awaitable[Findings]]] = {
    "knee": knee, "soak": soak, "hostile": hostile, "overload": overload, "fuzz": fuzz, "jvm": jvm, "drain": drain,
}  # fmt: skip
