"""Load in closed and in open loops, and what became of every photo.

Closed: so many callers, each asks again when it has its answer; the service sets the pace. Open: calls arrive at random
(Poisson) times, whatever the service does, and latency counts from the time at which a call was due: a service that
stalls cannot hide what waited meanwhile (coordinated omission).
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Protocol

from benchmarks.soak.ask import NO_ANSWER, OK, Answer
from benchmarks.soak.mix import Request

Ask = Callable[[Request, str], Awaitable[list[Answer]]]
REFUSALS = (  # before anything is computed
    "RESOURCE_EXHAUSTED/QUEUE_FULL",
    "RESOURCE_EXHAUSTED/TOO_MANY_AT_ONCE",
    "DEADLINE_EXCEEDED/DEADLINE_TOO_SHORT",
)


class Draws(Protocol):
    """Where requests come from: ``mix.Mix``."""

    photos_a_call: float

    def draw(self, rng: random.Random) -> Request: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo. Times in seconds by ``time.monotonic``; due: when its call was to be sent."""

    kind: str
    bucket: str
    due: float
    sent: float
    ended: float


@dataclass
class Load:
    """One run. started: photos sent. cpu_seconds: of this process. most_open: calls that were open at once, at most."""

    outcomes: list[Outcome] = field(default_factory=list)
    started: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    most_open: int = 0


class Generator:
    """Sends requests of a mix through ``ask`` and keeps count. seed: what is drawn, and when it arrives."""

    def __init__(self, ask: Ask, draws: Draws, seed: int, prefix: str = "soak"):
        self._ask, self._draws, self._rng = ask, draws, random.Random(seed)
        self._ids = (f"{prefix}-{number}" for number in count())

    async def closed_loop(self, callers: int, seconds: float, calls: int | None = None) -> Load:
        """Ends after ``seconds``, or when so many ``calls`` were made, with every answer waited for."""
        left = repeat(None) if calls is None else repeat(None, calls)

        async def caller(run: _Run) -> None:
            until = time.monotonic() + seconds
            for _ in left:  # all callers take from the same
                if (now := time.monotonic()) >= until:
                    break
                await run.one(now)

        async with _Run(self) as run:
            await asyncio.gather(*(caller(run) for _ in range(callers)))
        return run.load

    async def open_loop(self, photos_a_second: float, seconds: float, stop: asyncio.Event | None = None) -> Load:
        """Ends after ``seconds``, or when ``stop`` is set, with every answer waited for."""
        calls_a_second = photos_a_second / self._draws.photos_a_call
        async with _Run(self) as run, asyncio.TaskGroup() as group:
            due = began = time.monotonic()
            while not (stop and stop.is_set()):
                due += self._rng.expovariate(calls_a_second)
                if due > began + seconds:
                    break
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                group.create_task(run.one(due))
        return run.load

    async def _send(self, request: Request) -> list[Answer]:
        return await self._ask(request, next(self._ids))


class _Run:
    """Counts one run's calls, and the time that they took."""

    def __init__(self, generator: Generator):
        self._generator, self.load, self._open = generator, Load(), 0

    async def __aenter__(self) -> "_Run":
        self._began = time.monotonic(), time.process_time()
        return self

    async def __aexit__(self, *_: object) -> None:
        wall, cpu = self._began
        self.load.wall_seconds, self.load.cpu_seconds = time.monotonic() - wall, time.process_time() - cpu

    async def one(self, due: float) -> None:
        """One call: an outcome for each of its photos, exactly."""
        request, sent = self._generator._draws.draw(self._generator._rng), time.monotonic()
        self.load.started += len(request.bodies)
        self._open += 1
        self.load.most_open = max(self.load.most_open, self._open)
        try:
            answers = await self._generator._send(request)
        finally:
            self._open -= 1
        answers = answers[: len(request.bodies)]
        answers += [Answer(NO_ANSWER, time.monotonic())] * (len(request.bodies) - len(answers))
        self.load.outcomes += [Outcome(request.kind.name, each.bucket, due, sent, each.ended) for each in answers]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least this share of the values does not exceed; nan of
    none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True)
class Spread:
    """Percentiles, in seconds."""

    count: int
    p50: float
    p90: float
    p99: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(len(values), *(percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)))


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    accepted: from when a call was due to its right answer. refused: from when it was sent to the refusal, which is the
    service's time alone. late: how long after they were due calls were sent, which is the generator's. cpu_share: of
    one core, for the generator. throughput: right answers a second.
    """

    started: int
    buckets: dict[str, int]
    kinds: dict[str, Spread]
    accepted: Spread
    refused: Spread
    late: Spread
    throughput: float
    cpu_share: float
    most_open: int


def summary(load: Load) -> Summary:
    accepted = [outcome for outcome in load.outcomes if outcome.bucket == OK]
    by_kind: dict[str, list[float]] = {}
    for outcome in accepted:
        by_kind.setdefault(outcome.kind, []).append(outcome.ended - outcome.due)
    return Summary(
        started=load.started,
        buckets=dict(Counter(outcome.bucket for outcome in load.outcomes).most_common()),
        kinds={kind: spread(values) for kind, values in sorted(by_kind.items())},
        accepted=spread([outcome.ended - outcome.due for outcome in accepted]),
        refused=spread([o.ended - o.sent for o in load.outcomes if o.bucket in REFUSALS]),
        late=spread([outcome.sent - outcome.due for outcome in load.outcomes]),
        throughput=len(accepted) / load.wall_seconds if load.wall_seconds else math.nan,
        cpu_share=load.cpu_seconds / load.wall_seconds if load.wall_seconds else math.nan,
        most_open=load.most_open,
    )


def lost(load: Load) -> list[Outcome]:
    """Photos without an answer of their own: none, a wrong one, or an error that the service did not say."""
    return [outcome for outcome in load.outcomes if outcome.bucket.startswith(("LOST/", "TRANSPORT/"))]
