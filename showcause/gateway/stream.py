"""ExplainStream, whatever the protocol: many photos, a bounded number of them at a time. Imports no torch.

A photo takes a place in the window when it is read, and frees it when its answer has been written. A caller who sends
faster than the engine computes, or reads slower, is held back by the transport; nothing piles up here.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import replace

from showcause.errors import InvalidArgument, ShowcauseError, internal, out_of_range
from showcause.gateway.service import Caller, Service
from showcause.v1 import service_pb2
from showcause.wire import parsed, stream_error, stream_response

log = logging.getLogger(__name__)

MOST_ID_BYTES = 256
LAST_LOOK_SECONDS = 0.05  # for the end of a stream that is on its way when the service begins to stop


async def explain_stream(
    service: Service,
    incoming: AsyncIterator[bytes],
    caller: Caller,
    deadline: float | None,
    window: int,
    most_photos: int = 0,
) -> AsyncGenerator[bytes, None]:
    """Serialised ExplainStreamRequests -> serialised ExplainStreamResponses, in the order of readiness.

    caller: whose stream it is. deadline: of the whole stream, in seconds since the epoch; each photo has the service's
    own time-out besides. window: photos read and not answered yet, at most. most_photos: on it, 0 for any number.
    Raises ShowcauseError for what ends the stream (after everything that was read is answered): a message that is none,
    a photo too many, or a service that stops.
    """
    stream = _Stream(service, incoming, caller, deadline, window, most_photos)
    service.streams += 1
    service.metrics.open_streams.inc()
    reader = asyncio.create_task(stream.read_to_the_end())
    try:
        while (event := await stream.answered.get()) is not None:
            if isinstance(event, ShowcauseError):
                raise event
            yield event
            stream.room.release()
    finally:
        service.streams -= 1
        service.metrics.open_streams.dec()
        for task in (reader, *stream.tasks):
            task.cancel()


class _Stream:
    """answered: what is to be written, never longer than the window; None or an error is the end."""

    def __init__(
        self,
        service: Service,
        incoming: AsyncIterator[bytes],
        caller: Caller,
        deadline: float | None,
        window: int,
        most_photos: int,
    ):
        self.service, self.incoming, self.caller, self.deadline = service, incoming, caller, deadline
        self.most_photos = most_photos
        self.answered: asyncio.Queue[bytes | ShowcauseError | None] = asyncio.Queue()
        self.room, self.waiting = asyncio.Semaphore(window), set[str]()
        self.tasks = set[asyncio.Task[None]]()
        self.ended = False  # by the caller

    async def read_to_the_end(self) -> None:
        """Reads as long as there is room; at the end waits for the answers."""
        end: ShowcauseError | None = None
        try:
            await self._read()
            end = None if self.ended else self.service.stopping()
        except ShowcauseError as error:
            end = error
        except Exception:
            log.exception("stream %s failed", self.caller.request_id)
            end = internal(self.caller.request_id)
        finally:
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.answered.put_nowait(end)

    async def _read(self) -> None:
        number = 0
        while True:
            await self.room.acquire()
            data = await self._next()
            if data is None:
                return
            number += 1
            left = None if self.deadline is None else self.deadline - time.time()
            caller = self.service.caller(f"{self.caller.request_id}.{number}", left, "stream", self.caller.peer)
            caller = replace(caller, identity=self.caller.identity)
            try:
                message = self._read_one(data, number)
            except ShowcauseError as error:  # without an id there is nobody but the whole stream to tell
                self._refuse(error, caller)
                raise
            try:
                self._check_id(message.id)
            except InvalidArgument as error:
                self._refuse(error, caller)
                self.answered.put_nowait(stream_error(message.id, error))
                continue
            self.waiting.add(message.id)
            self.tasks.add(task := asyncio.create_task(self._answer(message, caller)))
            task.add_done_callback(self.tasks.discard)

    def _read_one(self, data: bytes, number: int) -> service_pb2.ExplainStreamRequest:
        message = parsed(service_pb2.ExplainStreamRequest, data)
        if self.most_photos and number > self.most_photos:
            raise out_of_range("stream", f"photo {number}", f"at most {self.most_photos} photos on one stream")
        return message

    def _refuse(self, error: ShowcauseError, caller: Caller) -> None:
        """Counts and logs what goes no further."""
        with suppress(ShowcauseError), self.service.watch("explain", caller):
            raise error

    async def _next(self) -> bytes | None:
        """The next message; None at the end, or when the service begins to stop."""
        following = asyncio.ensure_future(anext(self.incoming, None))
        stop = asyncio.ensure_future(self.service.draining.wait())
        try:
            await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self.service.draining.is_set():
                await asyncio.wait({following}, timeout=LAST_LOOK_SECONDS)
                self.ended = following.done() and following.result() is None
                return None  # what comes now is not accepted any more
            data = following.result()
            self.ended = data is None
            return data
        finally:
            following.cancel()
            stop.cancel()

    def _check_id(self, name: str) -> None:
        size = len(name.encode())
        if not 1 <= size <= MOST_ID_BYTES:
            raise out_of_range("id", f"{size} bytes", f"1 to {MOST_ID_BYTES} bytes")
        if name in self.waiting:
            raise out_of_range("id", name, "an id that no waiting photo of the stream has")

    async def _answer(self, message: service_pb2.ExplainStreamRequest, caller: Caller) -> None:
        """Whatever happens, there is an answer: each is waited for."""
        try:
            event = stream_response(message.id, await self.service.answer("explain", message.request, caller))
        except ShowcauseError as error:
            event = stream_error(message.id, error)
        except Exception:
            log.exception("request %s failed", caller.request_id)
            event = stream_error(message.id, internal(caller.request_id))
        self.waiting.discard(message.id)
        self.answered.put_nowait(event)
