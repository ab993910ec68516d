"""Which requests go together, and when: a line before workers that answer when they are told to."""

import asyncio

import pytest

from showcause.gateway.batches import Line

LARGE = b"L" * 40_000_000


class Workers:
    """Batches that came, and what is to become of them: envelopes, or an exception."""

    def __init__(self, workers: int = 1, batch_size: int = 3) -> None:
        self.up, self.batches, self.answers = True, [], []
        self.line = Line(self.send, lambda: self.up, workers, batch_size)

    async def send(self, batch: bytes, count: int):
        self.batches.append(batch.decode() if len(batch) < 100 else count)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    def answer(self, number: int, *envelopes: bytes) -> None:
        self.answers[number].set_result(envelopes)


def run(story, **shape):
    async def told():
        await asyncio.wait_for(story(workers := Workers(**shape), workers.line), 20)

    asyncio.run(told())


async def settled():
    """Until all that can go has gone."""
    await asyncio.sleep(0.02)


def test_a_lone_request_leaves_at_once_and_those_that_come_meanwhile_go_together():
    async def story(workers, line):
        first = line.join(b"a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert workers.batches == ["a"]
        others = [line.join(row) for row in (b"b", b"c")]
        await settled()
        assert workers.batches == ["a"], "half a batch waits for the worker"
        workers.answer(0, b"A")
        assert await first.answer == b"A"
        await settled()
        assert workers.batches == ["a", "bc"]
        workers.answer(1, b"B", b"C")
        assert [await place.answer for place in others] == [b"B", b"C"]

    run(story)


def test_a_full_batch_is_there_before_the_worker_is_done_and_a_second_one_is_not():
    async def story(workers, line):
        line.join(b"a")
        await settled()
        for row in (b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
            line.join(row)
        await settled()
        assert workers.batches == ["a", "bcd"]
        workers.answer(0, b"A")
        await settled()
        assert workers.batches == ["a", "bcd", "efg"]
        workers.answer(1, b"B", b"C", b"D")
        await settled()
        assert workers.batches == ["a", "bcd", "efg"], "the last one is alone"
        workers.answer(2, b"E", b"F", b"G")
        await settled()
        assert workers.batches[3:] == ["h"]

    run(story)


def test_every_worker_gets_one():
    async def story(workers, line):
        for row in (b"a", b"b", b"c"):
            line.join(row)
            await settled()
        assert workers.batches == ["a", "b"]

    run(story, workers=2)


def test_a_crowd_is_waited_for():
    """Answers that came together are followed by requests that nearly do."""

    async def story(workers, line):
        for row in (b"a", b"b"):
            line.join(row)
        await settled()
        workers.answer(0, b"A", b"B")
        await settled()
        line.join(b"c")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert workers.batches == ["ab"]
        line.join(b"d")
        await settled()
        assert workers.batches == ["ab", "cd"]

    run(story)


def test_who_leaves_in_time_is_not_computed():
    async def story(workers, line):
        first = line.join(b"a")
        await settled()
        second, third = line.join(b"b"), line.join(b"c")
        assert line.leave(second) is None
        batch = line.leave(first)
        assert batch is not None
        assert not batch.done()
        workers.answers[0].set_exception(OSError("gone"))  # nobody asks, and nobody is warned
        await settled()
        assert workers.batches == ["a", "c"]
        workers.answer(1, b"C")
        assert await third.answer == b"C"

    run(story)


def test_an_error_is_told_to_all_of_its_batch_and_to_nobody_else():
    async def story(workers, line):
        batch = [line.join(b"a"), line.join(b"b")]
        await settled()
        other = line.join(b"c")
        workers.answers[0].set_exception(OSError("died"))
        for place in batch:
            with pytest.raises(OSError, match="died"):
                await place.answer
        await settled()
        workers.answer(1, b"C")
        assert await other.answer == b"C"

    run(story)


def test_what_did_not_fit_is_asked_again_alone_and_before_the_others():
    async def story(workers, line):
        batch = [line.join(row) for row in (b"a", b"b", b"c")]
        await settled()
        other = line.join(b"d")
        workers.answer(0, b"A", b"", b"")
        assert await batch[0].answer == b"A"
        for number in (1, 2, 3):
            await settled()
            workers.answer(number, b"X")
        assert sorted(workers.batches[1:3]) == ["b", "c"]
        assert workers.batches[3] == "d"
        assert [await place.answer for place in (*batch[1:], other)] == [b"X"] * 3

    run(story)


def test_what_did_not_fit_is_not_asked_again_for_nobody():
    async def story(workers, line):
        first, second = line.join(b"a"), line.join(b"b")
        await settled()
        line.leave(second)
        workers.answer(0, b"A", b"")
        assert await first.answer == b"A"
        await settled()
        assert workers.batches == ["ab"]

    run(story)


def test_batches_are_bounded_in_bytes():
    async def story(workers, line):
        for row in (b"a", LARGE, LARGE, b"b"):
            line.join(row)
        await settled()
        assert workers.batches == [2], "the second large one would be too much"
        workers.answer(0, b"A", b"L")
        await settled()
        assert workers.batches == [2, 2]

    run(story, batch_size=8)


def test_nothing_goes_to_who_is_not_there():
    async def story(workers, line):
        workers.up = False
        place = line.join(b"a")
        await settled()
        assert workers.batches == []
        workers.up = True
        line.go()
        await settled()
        workers.answer(0, b"A")
        assert await place.answer == b"A"

    run(story)
