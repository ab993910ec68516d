"""Loads: every photo counted once, the pace kept, queues that open loops cannot hide; the knee of a known service."""

import asyncio
import math
import random
from itertools import pairwise

import pytest

from benchmarks.soak.ask import NO_ANSWER, OK, WRONG, Answer
from benchmarks.soak.knee import find_knee, rate_at_the_knee
from benchmarks.soak.load import Generator, Load, Outcome, lost, percentile, spread, summary
from benchmarks.soak.mix import Kind, Mix, Right, check_distinct, photo
from tests.soak.conftest import request


class Same:
    """Always the same request."""

    def __init__(self, way: str = "unary", photos: int = 1):
        self.photos_a_call, self.made = float(photos), request(way, photos)

    def draw(self, rng: random.Random):
        return self.made


def now() -> float:
    return asyncio.get_running_loop().time()


async def at_once(asked, _):
    return [Answer(OK, now())] * len(asked.bodies)


def test_percentiles_are_by_nearest_rank():
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.5) == 7
    assert math.isnan(spread([]).p99)


def test_every_photo_counts_once_whatever_was_answered(run):
    async def too_many(asked, _):
        return [Answer(OK, now())] * 5

    async def too_few(asked, _):
        return [Answer(OK, now())]

    for ask, bucket in ((too_many, OK), (too_few, NO_ANSWER)):
        load = run(Generator(ask, Same("stream", 3), 0).open_loop(300, 0.3))
        assert load.started == len(load.outcomes) > 20
        assert {outcome.bucket for outcome in load.outcomes[1::3]} == {bucket}
    assert len(lost(load)) == 2 * load.started // 3


def test_request_ids_are_never_the_same(run):
    seen = []

    async def ask(asked, request_id):
        seen.append(request_id)
        return await at_once(asked, request_id)

    run(Generator(ask, Same(), 0).closed_loop(4, 0.1))
    assert len(seen) == len(set(seen)) > 10


def test_a_closed_loop_has_no_more_open_than_callers_and_an_open_loop_keeps_its_rate(run):
    async def slow(asked, request_id):
        await asyncio.sleep(0.05)
        return await at_once(asked, request_id)

    closed = run(Generator(slow, Same(), 0).closed_loop(3, 0.5))
    assert closed.most_open == 3
    assert 18 <= closed.started <= 33
    opened = run(Generator(slow, Same(), 0).open_loop(200, 1.0))
    assert 150 <= opened.started <= 250, "Poisson: 200, give or take 3 deviations of 14"
    assert opened.most_open > 5
    gaps = [b.due - a.due for a, b in pairwise(sorted(opened.outcomes, key=lambda outcome: outcome.due))]
    assert 0.5 < spread(gaps).p50 / (math.log(2) / 200) < 2, "the median gap of Poisson arrivals"


def test_a_stall_shows_in_an_open_loop_and_hides_in_a_closed_one(run):
    """A service that takes one request at a time, and once stands still for half a second."""

    def service():
        free, stalled = asyncio.Lock(), False

        async def ask(asked, request_id):
            nonlocal stalled
            async with free:
                if not stalled:
                    stalled = True
                    await asyncio.sleep(0.5)
            return await at_once(asked, request_id)

        return ask

    async def both():
        closed = await Generator(service(), Same(), 0).closed_loop(1, 1.0)
        opened = await Generator(service(), Same(), 0).open_loop(100, 1.0)
        return summary(closed), summary(opened)

    closed, opened = run(both())
    assert closed.accepted.p90 < 0.05, "one request noticed"
    assert closed.accepted.most > 0.4
    assert opened.accepted.p90 > 0.3, "half of the requests came while it stood"


def test_an_open_loop_ends_early_when_told_and_waits_for_every_answer(run):
    async def slow(asked, request_id):
        await asyncio.sleep(0.2)
        return await at_once(asked, request_id)

    async def stopped():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, stop.set)
        return await Generator(slow, Same(), 0).open_loop(100, 30, stop)

    load = run(stopped())
    assert load.wall_seconds < 2
    assert load.started == len(load.outcomes) > 5


def test_summaries_by_hand():
    outcomes = [
        Outcome("a", OK, 0.0, 0.5, 1.0),
        Outcome("a", OK, 0.0, 0.0, 3.0),
        Outcome("b", WRONG, 0.0, 0.0, 1.0),
        Outcome("b", "RESOURCE_EXHAUSTED/QUEUE_FULL", 0.0, 0.5, 0.75),
    ]
    found = summary(Load(outcomes, 4, wall_seconds=4.0, cpu_seconds=1.0, most_open=2))
    assert found.buckets == {OK: 2, WRONG: 1, "RESOURCE_EXHAUSTED/QUEUE_FULL": 1}
    assert (found.accepted.p50, found.accepted.most, found.accepted.count) == (1.0, 3.0, 2)
    assert (found.refused.p50, found.refused.count) == (0.25, 1)
    assert (found.late.most, found.throughput, found.cpu_share) == (0.5, 0.5, 0.25)
    assert list(found.kinds) == ["a"]
    assert [outcome.bucket for outcome in lost(Load(outcomes))] == [WRONG]


def test_the_knee_of_a_service_that_does_four_at_once(run):
    async def found():
        room = asyncio.Semaphore(4)

        async def ask(asked, request_id):
            async with room:
                await asyncio.sleep(0.02)
            return await at_once(asked, request_id)

        return await find_knee(Generator(ask, Same(), 0), (1, 2, 4, 16), 0.5)

    knee = run(found())
    assert knee.callers == 4
    assert 120 < knee.capacity < 201, "four in 20 ms are 200 a second, less what the loop costs"
    assert [callers for callers, _ in knee.steps] == [1, 2, 4, 16]


def test_a_closed_loop_ends_after_so_many_calls(run):
    load = run(Generator(at_once, Same(), 0).closed_loop(3, math.inf, calls=10))
    assert load.started == len(load.outcomes) == 10


@pytest.mark.parametrize(
    ("steps", "knee"),
    [
        ([(10, 0.1, OK), (20, 0.3, OK), (30, 0.9, OK), (40, 0.4, OK)], 20),  # beyond 30 it was luck
        ([(20, 0.3, OK), (10, 0.1, OK)], 20),
        ([(10, 0.1, OK), (20, 0.3, "RESOURCE_EXHAUSTED/QUEUE_FULL")], 10),
        ([(10, 0.6, OK)], None),
        ([], None),
    ],
)
def test_the_rate_at_the_knee_is_the_last_that_is_borne(steps, knee):
    made = [
        (float(rate), summary(Load([Outcome("a", OK, 0.0, 0.0, seconds), Outcome("a", bucket, 0.0, 0.0, seconds)], 2)))
        for rate, seconds, bucket in steps
    ]
    assert rate_at_the_knee(made, 0.5) == knee


def test_a_mix_is_drawn_by_weight_the_same_for_a_seed_and_its_answers_differ():
    kinds = [Kind("m", "predict", "unary", 3), Kind("m", "explain", "stream", 1)]
    photos = {"one": b"1", "two": b"2"}
    mix = Mix(kinds, photos, {("m", "one"): Right(0, 1.0), ("m", "two"): Right(0, 1.1)})
    drawn = [mix.draw(rng) for rng in [random.Random(5)] for _ in range(400)]
    assert drawn == [mix.draw(rng) for rng in [random.Random(5)] for _ in range(400)]
    assert 70 < sum(each.kind.way == "stream" for each in drawn) < 130
    assert mix.photos_a_call == pytest.approx((3 * 1 + 1 * 4) / 4)
    assert {each.kind.way for each in mix.without("stream").all()} == {"unary"}
    assert len({each.bodies for each in mix.all()}) == 4
    with pytest.raises(ValueError, match="one and two alike"):
        check_distinct({("m", "one"): Right(0, 1.0), ("m", "two"): Right(0, 1.001)})
    check_distinct({("m", "one"): Right(0, 1.0), ("n", "one"): Right(0, 1.0)})


def test_photos_are_jpegs():
    assert photo("coins")[:2] == b"\xff\xd8"
