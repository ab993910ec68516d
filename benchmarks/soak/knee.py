"""How much the service can do, and with how many callers it gets there.

Closed loops with more and more callers: throughput rises until the workers are busy and their batches full, and then
only latency does. The capacity is the highest throughput found; the knee is the first number of callers that reaches
90% of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.soak.load import Generator, Summary, summary

NEAR = 0.9


@dataclass(frozen=True)
class Knee:
    """capacity: photos a second. steps: each number of callers with what it gave."""

    capacity: float
    callers: int
    steps: list[tuple[int, Summary]]


async def find_knee(generator: Generator, callers: Sequence[int], seconds: float) -> Knee:
    """Each number of callers for so many seconds, after one unmeasured step that warms up."""
    await generator.closed_loop(max(callers), seconds / 2)
    steps = [(number, summary(await generator.closed_loop(number, seconds))) for number in callers]
    capacity = max(step.throughput for _, step in steps)
    return Knee(capacity, next(n for n, step in steps if step.throughput >= NEAR * capacity), steps)
