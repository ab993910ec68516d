"""How much the service can do, with how many callers it gets there, and how much of it can be borne.

Closed loops with more and more callers: throughput rises until the workers are busy and their batches full, and then
only latency does. The capacity is the highest throughput found; the knee is the first number of callers that reaches
90% of it. Open loops at rising rates: the knee is the highest rate at which the queue does not grow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.soak.ask import OK
from benchmarks.soak.load import Generator, Summary, summary

NEAR = 0.9


@dataclass(frozen=True)
class Knee:
    """capacity: photos a second. steps: each number of callers with what it gave."""

    capacity: float
    callers: int
    steps: list[tuple[int, Summary]]


def rate_at_the_knee(steps: Sequence[tuple[float, Summary]], bearable_seconds: float) -> float | None:
    """The highest offered rate (photos a second) of open loops up to which everything was answered, nine of ten photos
    within so many seconds. None where the lowest rate was too much."""
    found = None
    for rate, step in sorted(steps, key=lambda each: each[0]):
        if set(step.buckets) != {OK} or step.accepted.p90 > bearable_seconds:
            break
        found = rate
    return found


async def find_knee(generator: Generator, callers: Sequence[int], seconds: float) -> Knee:
    """Each number of callers for so many seconds, after one unmeasured step that warms up."""
    await generator.closed_loop(max(callers), seconds / 2)
    steps = [(number, summary(await generator.closed_loop(number, seconds))) for number in callers]
    capacity = max(step.throughput for _, step in steps)
    return Knee(capacity, next(n for n, step in steps if step.throughput >= NEAR * capacity), steps)
