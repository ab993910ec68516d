"""Turns: bounded, in order, alone for suspects; and nothing is left behind by those who go away."""

import asyncio
import time

import pytest

from showcause.errors import DeadlineExceeded, ResourceExhausted
from showcause.gateway.admission import Admission


class Crowd:
    """Requests by name: who is being computed, in which order they began, and how many at once at most."""

    def __init__(self, slots: int = 1, most_waiting: int = 100):
        self.admission = Admission(slots, most_waiting)
        self.began: list[str] = []
        self.now: set[str] = set()
        self.most = 0
        self._done: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str, seconds: float = 60, **how: bool) -> None:
        for name in names:
            self._done[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._go(name, time.time() + seconds, how))
        await settled()

    async def _go(self, name: str, deadline: float, how: dict[str, bool]) -> None:
        async with self.admission.turn(deadline, **how):
            self.began.append(name)
            self.now.add(name)
            self.most = max(self.most, len(self.now))
            try:
                await self._done[name].wait()
            finally:
                self.now.discard(name)

    async def finish(self, *names: str) -> None:
        for name in names:
            self._done[name].set()
            await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(story):
    asyncio.run(asyncio.wait_for(story(), 10))


def test_no_more_than_the_slots_at_once_and_in_order():
    async def story():
        crowd = Crowd(slots=2)
        await crowd.come("a", "b", "c", "d")
        assert crowd.began == ["a", "b"]
        assert (crowd.admission.running, crowd.admission.waiting, crowd.admission.in_flight) == (2, 2, 4)
        await crowd.finish("b", "a", "c", "d")
        assert crowd.began == ["a", "b", "c", "d"]
        assert crowd.most == 2
        assert crowd.admission.in_flight == 0

    run(story)


def test_a_full_queue_refuses_and_says_when_to_try_again():
    async def story():
        crowd = Crowd(slots=1, most_waiting=2)
        for name in "abc":
            crowd.admission.check_room(1)
            await crowd.come(name)
        with crowd.admission.counted(30.0), crowd.admission.counted(10.0):
            with pytest.raises(ResourceExhausted) as caught:
                crowd.admission.check_room(2)
            assert caught.value.reason == "QUEUE_FULL"
            assert caught.value.retry_seconds == 40 / 2 / 2
        assert crowd.admission.backlog_seconds == 0
        await crowd.finish("a")
        crowd.admission.check_room(1)

    run(story)


def test_photos_of_streams_and_requests_take_turns():
    async def story():
        crowd = Crowd()
        await crowd.come("first")
        await crowd.come("s1", "s2", "s3", "s4", streamed=True)
        await crowd.come("r1", "r2")
        crowd.admission.most_waiting = 2
        with pytest.raises(ResourceExhausted):
            crowd.admission.check_room(1)
        await crowd.finish("first", "s1", "s2", "s3", "s4", "r1", "r2")
        order = crowd.began[1:]
        assert order.index("r2") <= 3, f"a stream does not keep requests waiting: {order}"
        assert order.index("s2") <= 3, f"nor requests a stream: {order}"
        assert [name for name in order if name[0] == "s"] == ["s1", "s2", "s3", "s4"]

    run(story)


def test_a_deadline_that_passes_while_waiting_ends_the_wait_and_costs_no_turn():
    async def story():
        crowd = Crowd()
        await crowd.come("a")
        await crowd.come("late", seconds=0.05)
        await crowd.come("b")
        with pytest.raises(DeadlineExceeded, match="while the request waited"):
            await crowd.tasks["late"]
        assert crowd.admission.in_flight == 2
        await crowd.finish("a", "b")
        assert crowd.began == ["a", "b"]
        assert crowd.admission.in_flight == 0

    run(story)


def test_who_goes_away_frees_the_place_wherever_it_was():
    async def story():
        crowd = Crowd()
        await crowd.come("running", "waiting", "next")
        crowd.tasks["waiting"].cancel()
        await settled()
        assert crowd.admission.in_flight == 2

        def begin_and_cancel(lane):
            """Its turn comes at the very moment at which it goes away."""
            begun = begin(lane)
            crowd.tasks["next"].cancel()
            return begun

        begin, crowd.admission._begin = crowd.admission._begin, begin_and_cancel
        await crowd.finish("running")
        crowd.admission._begin = begin
        assert crowd.admission.in_flight == 0
        await crowd.come("later")
        assert crowd.began == ["running", "later"]
        await crowd.finish("later")

    run(story)


def test_what_the_engine_goes_on_with_keeps_its_place():
    """TorchServe does not forget a call that is cancelled: thousands of such would lie in its queue."""

    async def story():
        crowd = Crowd()
        calls = [asyncio.get_running_loop().create_future() for _ in range(3)]
        await crowd.come("left", "next")
        crowd.admission.keep(calls[0])
        crowd.tasks["left"].cancel()
        await settled()
        assert crowd.admission.running == 1
        assert crowd.began == ["left"], "the engine is busy with it"
        calls[0].set_exception(OSError("gone"))
        await settled()
        assert crowd.began == ["left", "next"]
        await crowd.finish("next")
        assert crowd.admission.in_flight == 0

    run(story)


def test_the_queue_is_bounded_while_a_suspect_is_alone():
    async def story():
        crowd = Crowd(slots=32, most_waiting=2)
        await crowd.come("suspect", alone=True)
        await crowd.come("a", "b")
        assert crowd.now == {"suspect"}
        with pytest.raises(ResourceExhausted):
            crowd.admission.check_room(1)
        await crowd.finish("suspect", "a", "b")

    run(story)


def test_a_suspect_waits_for_the_others_and_then_is_alone():
    async def story():
        crowd = Crowd(slots=3)
        await crowd.come("a", "b")
        await crowd.come("suspect 1", "suspect 2", alone=True)
        await crowd.come("c", "d")
        assert crowd.now == {"a", "b"}, "nobody new is let in before the suspects"
        await crowd.finish("a")
        assert crowd.now == {"b"}
        await crowd.finish("b")
        assert crowd.now == {"suspect 1"}
        await crowd.finish("suspect 1")
        assert crowd.now == {"suspect 2"}
        await crowd.finish("suspect 2")
        assert crowd.now == {"c", "d"}
        await crowd.finish("c", "d")
        assert crowd.admission.in_flight == 0

    run(story)


def test_a_suspect_that_goes_away_holds_nobody_up():
    async def story():
        crowd = Crowd(slots=2)
        await crowd.come("a")
        await crowd.come("suspect", alone=True)
        await crowd.come("b")
        assert crowd.now == {"a"}
        crowd.tasks["suspect"].cancel()
        await settled()
        assert crowd.now == {"a", "b"}
        await crowd.finish("a", "b")

    run(story)
