"""Requests on their way to the workers of one model: those that come while the workers are busy go together.

A lone request leaves at once. TorchServe forms batches, too, but holds every first request up for 1 ms or more, and
reads, queues and answers each of them by itself. Imports no torch.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

BATCHES_AHEAD = 2  # of a worker: the one that it computes, and the next where that is full, so that it never waits
LINGER_SECONDS = 0.001  # for the others of a crowd, whose answers came together and whose next requests do
MOST_BATCH_BYTES = 64 * 1024 * 1024  # of requests; one alone may be larger

Send = Callable[[bytes, int], Awaitable[Sequence[bytes]]]


@dataclass(eq=False)
class Place:
    """One request. row: a serialised Batch of it alone. batch: the task in which it is computed, once it has left.

    answer: its envelope, or what was raised. alone: whether it goes without others.
    """

    row: bytes
    answer: "asyncio.Future[bytes]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    batch: "asyncio.Task[None] | None" = None
    alone: bool = False
    left: bool = False  # its caller, while it was computed


class Line:
    """send: a batch and how many requests are in it -> their envelopes, empty for those that are to be asked again.

    up: whether there is somebody to send to; who is there anew calls ``go``. workers: that compute a batch each.
    batch_size: requests of a batch, at most.
    """

    def __init__(self, send: Send, up: Callable[[], bool], workers: int, batch_size: int):
        self._send, self._up, self.workers, self.batch_size = send, up, workers, batch_size
        self._waiting = deque[Place]()
        self._out = 0  # batches that are not answered yet
        self._crowd = False  # whether the last batch had several
        self._going: asyncio.TimerHandle | asyncio.Handle | None = None

    def join(self, row: bytes) -> Place:
        """A place for a request, whose turn comes by itself."""
        place = Place(row)
        self._waiting.append(place)
        self.go(LINGER_SECONDS if self._crowd and not self._out else 0.0)
        return place

    def leave(self, place: Place) -> "asyncio.Task[None] | None":
        """Nobody waits for it any more; the batch in which it is computed all the same, if it has left."""
        if place.batch is None:
            self._waiting.remove(place)
        else:
            place.left = True
            place.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())  # seen
        return place.batch

    def go(self, seconds: float = 0.0) -> None:
        """Lets go who may, soon: those that come in the same moment go together."""
        if self._going is None:
            loop = asyncio.get_running_loop()
            self._going = loop.call_later(seconds, self._go) if seconds else loop.call_soon(self._go)

    def _go(self) -> None:
        self._going = None
        while self._waiting and self._up() and self._out < self._most_out():
            batch = self._next()
            self._out, self._crowd = self._out + 1, len(batch) > 1
            task = asyncio.create_task(self._compute(batch))
            for place in batch:
                place.batch = task

    def _most_out(self) -> int:
        """Batches that may be out: what would leave half empty waits for a worker, and for company."""
        return self.workers * (BATCHES_AHEAD if len(self._waiting) >= self.batch_size else 1)

    def _next(self) -> list[Place]:
        """Takes those whose turn it is."""
        batch, size = [self._waiting.popleft()], 0
        while self._waiting and not batch[0].alone and len(batch) < self.batch_size:
            size += len(batch[-1].row)
            if self._waiting[0].alone or size + len(self._waiting[0].row) > MOST_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _compute(self, batch: list[Place]) -> None:
        try:
            envelopes = await self._send(b"".join(place.row for place in batch), len(batch))
            for place, envelope in zip(batch, envelopes, strict=True):
                if envelope:
                    place.answer.set_result(envelope)
                elif not place.left:
                    place.batch, place.alone = None, True
                    self._waiting.appendleft(place)
        except Exception as error:  # each of them is told
            for place in batch:
                if not place.answer.done():
                    place.answer.set_exception(error)
        # Not where it is cancelled: then the loop ends, and nothing more may begin.
        self._out -= 1
        self.go()
