"""The gateway's way to the engine: a protocol, and TorchServe behind it."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import grpc

from showcause.engine.config import MAX_MESSAGE_BYTES
from showcause.engine.v1 import call_pb2, prediction_pb2
from showcause.errors import DeadlineExceeded, Unavailable
from showcause.gateway.batches import Line

log = logging.getLogger(__name__)

METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
MOST_MARKS = 10_000  # of callers who went away, until the oldest are wiped


Keep = Callable[["asyncio.Future[Any]"], None]


class WorkerDied(Exception):
    """The process that computed the request is gone, and nobody knows what became of it."""


class Engine(Protocol):
    """Whatever computes: a fake one in tests of what cannot be provoked otherwise."""

    async def answer(
        self, model: str, operation: str, request: bytes, deadline: float, request_id: str, keep: Keep
    ) -> bytes:
        """The envelope (``showcause.wire``) for one request; deadline in seconds since the epoch.

        model: as the engine calls it. keep: is given the call where the engine still has it after the caller left, or
        after the deadline. Raises DeadlineExceeded, Unavailable, or WorkerDied. What was not begun by the time at which
        the caller leaves is not computed.
        """
        ...


class TorchServeClient:
    """TorchServe's gRPC inference API on loopback.

    gone: folder for the tickets of callers who have gone away. shape: of a model, how many workers it has and how many
    requests make a batch.
    """

    def __init__(self, gone: Path, shape: Callable[[str], tuple[int, int]]):
        self._gone, self._shape, self._marks = gone, shape, deque[Path]()
        self._lines: dict[str, Line] = {}
        self._up = False
        self._channel: grpc.aio.Channel | None = None

    def connect(self, target: str, token: str) -> None:
        """Requests go there from now on, those that wait for an engine first of all."""
        sizes = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(target, options=[*sizes, ("grpc.enable_http_proxy", 0)])
        self._metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {token}"))
        self._predict = self._channel.unary_unary(
            METHOD,
            request_serializer=prediction_pb2.PredictionsRequest.SerializeToString,
            response_deserializer=prediction_pb2.PredictionResponse.FromString,
        )
        self._up = True
        for line in self._lines.values():
            line.go()

    @property
    def connected(self) -> bool:
        """Whether requests go on to the engine; not so after a connection broke, until ``connect``."""
        return self._up

    async def disconnect(self) -> None:
        """The engine is gone: what it had in hand raises WorkerDied, what comes now waits for the next one."""
        self._up = False
        if self._channel is not None:
            await self._channel.close()

    async def answer(
        self, model: str, operation: str, request: bytes, deadline: float, request_id: str, keep: Keep
    ) -> bytes:
        ticket = uuid.uuid4().hex
        line = self._line(model)
        place = line.join(_row(operation, request, deadline, request_id, ticket))
        try:
            async with asyncio.timeout(max(0.0, deadline - time.time())):
                return await asyncio.shield(place.answer)  # TorchServe would go on with a call that is cancelled
        except TimeoutError:
            if batch := line.leave(place):
                keep(batch)
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the deadline passed before the engine answered") from None
        except asyncio.CancelledError:
            if batch := line.leave(place):
                self._mark(ticket)
                keep(batch)
            raise

    def _line(self, model: str) -> Line:
        """Where a model's requests wait for its workers."""
        if model not in self._lines:
            workers, batch_size = self._shape(model)
            self._lines[model] = Line(partial(self._send, model), lambda: self._up, workers, batch_size)
        return self._lines[model]

    async def _send(self, model: str, batch: bytes, count: int) -> Sequence[bytes]:
        """The envelopes of a batch of so many calls."""
        message = prediction_pb2.PredictionsRequest(model_name=model, input={"batch": batch})
        del batch  # of megabytes perhaps, and in the message now
        try:
            reply = await self._predict(message, metadata=self._metadata)
        except asyncio.CancelledError:  # the connection was closed under the call
            raise WorkerDied("the engine is gone") from None
        except grpc.aio.AioRpcError as error:
            details = error.details() or ""
            log.warning("engine: %s: %s", error.code().name, details)
            if "has no worker" in details:  # it was tried to start them again and again
                raise Unavailable("ENGINE_UNAVAILABLE", f"model {model} has no worker; try again") from error
            if error.code() == grpc.StatusCode.UNAVAILABLE:  # until somebody has looked, nothing goes there
                self._up = False
            raise WorkerDied(details) from error
        envelopes: Sequence[bytes] = call_pb2.Answers.FromString(reply.prediction).envelopes
        if len(envelopes) != count:
            raise WorkerDied(f"the engine answers {len(envelopes)} of {count} requests")
        return envelopes

    def _mark(self, ticket: str) -> None:
        """Tells the workers that nobody waits for this one any more."""
        with contextlib.suppress(OSError):  # a disk that is full: then it is computed for nobody
            (self._gone / ticket).touch()
            self._marks.append(self._gone / ticket)
        if len(self._marks) > MOST_MARKS:
            self._marks.popleft().unlink(missing_ok=True)

    async def close(self) -> None:
        await self.disconnect()


def _row(operation: str, request: bytes, deadline: float, request_id: str, ticket: str) -> bytes:
    """A batch of one call; batches one after the other are a batch of all."""
    call = call_pb2.Call(operation=operation, request=request, deadline=deadline, request_id=request_id, ticket=ticket)
    return call_pb2.Batch(calls=[call]).SerializeToString()
