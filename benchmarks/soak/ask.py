"""One request to the running service, and the one bucket that each of its photos ends in.

OK                 the right answer, under our request id
CODE/REASON        an error of the service's own: it carries our request id and a reason
TRANSPORT/CODE     an error that the service did not say: its trailers or headers lack our request id
LOST/WHY           no answer, or one that is not ours
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import grpc
import httpx
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from benchmarks.soak.mix import SERVICE, Request, Right
from showcause.client.calls import predict_request
from showcause.errors import from_rpc_error
from showcause.v1 import service_pb2
from showcause.wire import read_event

OK, NO_ANSWER, NOT_OURS = "OK", "LOST/no answer", "LOST/another request's answer"
WRONG, UNREADABLE, TWICE = "LOST/wrong answer", "LOST/unreadable", "LOST/answered twice"
NOBODY = -1  # in place of a photo's number: an answer on a stream that nobody asked for
REPLIES = {"Explain": service_pb2.ExplainResponse, "Predict": service_pb2.PredictResponse}
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # the first answer counts
    ("grpc.use_local_subchannel_pool", 1),  # channels are connections
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """ended: when, by ``time.monotonic``."""

    bucket: str
    ended: float


class Asker:
    """Connections to one service; raises nothing for what becomes of a request.

    patience_seconds: how long an answer is waited for. It is our own clock and not the call's deadline, so that a
    service which says nothing cannot be mistaken for one that says DEADLINE_EXCEEDED.
    """

    def __init__(self, address: str, rest: str, patience_seconds: float, connections: int = 4):
        self.patience_seconds = patience_seconds
        self._channels = [grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) for _ in range(connections)]
        self._turn = cycle(self._channels)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=2 * connections)
        self._http = httpx.AsyncClient(base_url=rest, timeout=None, limits=limits, trust_env=False)

    async def __aenter__(self) -> "Asker":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        for channel in self._channels:
            await channel.close()

    async def ask(self, request: Request, request_id: str) -> list[Answer]:
        """An answer for each photo of the request, in their order."""
        ways: Mapping[str, Callable[..., Any]] = {"unary": self._unary, "stream": self._stream, "rest": self._rest}
        answers: list[Answer] = await ways[request.kind.way](request, request_id)
        return answers

    async def learn(self, model: str, photo: bytes) -> Right:
        """What a service at rest answers; raises what gRPC raises."""
        stub = next(self._turn).unary_unary(f"/{SERVICE}/Predict")
        data = await stub(predict_request(photo, model=model).SerializeToString(), timeout=self.patience_seconds)
        first = service_pb2.PredictResponse.FromString(data).predictions[0]
        return Right(first.index, first.logit)

    async def _unary(self, request: Request, request_id: str) -> list[Answer]:
        call = next(self._turn).unary_unary(request.path)(request.bodies[0], metadata=(("x-request-id", request_id),))
        try:
            async with asyncio.timeout(self.patience_seconds):
                data = await call
            bucket = judged(REPLIES[request.path.rsplit("/", 1)[1]], data, request_id, request.right[0])
        except TimeoutError:
            bucket = NO_ANSWER
        except grpc.aio.AioRpcError as error:
            bucket = refused(error, request_id)
        return [Answer(bucket, time.monotonic())]

    async def _stream(self, request: Request, request_id: str) -> list[Answer]:
        """All photos are sent at once: the service's window takes more than that."""
        found: dict[int, Answer] = {}
        bodies = [
            service_pb2.ExplainStreamRequest(id=str(number)).SerializeToString() + body
            for number, body in enumerate(request.bodies)
        ]
        call = next(self._turn).stream_stream(request.path)(iter(bodies), metadata=(("x-request-id", request_id),))
        end = NO_ANSWER
        try:
            async with asyncio.timeout(self.patience_seconds):
                async for data in call:
                    name, bucket = judged_event(data, request_id, request.right)
                    if bucket:
                        found[name] = Answer(TWICE if name in found else bucket, time.monotonic())
        except TimeoutError:
            call.cancel()
        except grpc.aio.AioRpcError as error:
            end = refused(error, request_id)
        last = Answer(end, time.monotonic())
        if NOBODY in found:
            return [Answer(NOT_OURS, last.ended)] * len(request.bodies)
        return [found.get(number, last) for number in range(len(request.bodies))]

    async def _rest(self, request: Request, request_id: str) -> list[Answer]:
        headers = {"content-type": "image/jpeg", "x-request-id": request_id}
        try:
            async with asyncio.timeout(self.patience_seconds):
                response = await self._http.post(request.path, content=request.bodies[0], headers=headers)
            bucket = judged_response(response, request_id, request.right[0])
        except TimeoutError:
            bucket = NO_ANSWER
        except httpx.TransportError as error:
            bucket = f"TRANSPORT/{type(error).__name__}"
        return [Answer(bucket, time.monotonic())]


def judged(kind: Any, data: bytes, request_id: str, right: Right) -> str:
    """The bucket of a serialised reply."""
    try:
        reply = kind.FromString(data)
    except DecodeError:
        return UNREADABLE
    return judged_reply(reply, request_id, right)


def judged_reply(reply: Any, request_id: str, right: Right) -> str:
    """The bucket of a reply message."""
    if reply.request_id != request_id:
        return NOT_OURS
    first = reply.predictions[0] if reply.predictions else None
    return OK if first is not None and right.same(first.index, first.logit) else WRONG


def judged_event(data: bytes, request_id: str, right: tuple[Right, ...]) -> tuple[int, str]:
    """Which photo of a stream a message is about, or NOBODY, and its bucket; "" for mere progress."""
    try:
        message = service_pb2.ExplainStreamResponse.FromString(data)
    except DecodeError:
        return NOBODY, UNREADABLE
    number = int(message.id) if message.id.isdecimal() and int(message.id) < len(right) else NOBODY
    event = message.WhichOneof("event")
    if number == NOBODY:
        return number, NOT_OURS
    if event == "response":  # the service numbers the photos of a stream from 1
        return number, judged_reply(message.response, f"{request_id}.{number + 1}", right[number])
    if event != "error":
        return number, "" if event == "progress" else UNREADABLE
    error = read_event(message).error
    return number, _named(error.code_name, error.reason, message.error.HasField("retry_delay_seconds"))


def refused(error: grpc.aio.AioRpcError, request_id: str) -> str:
    """The bucket of a call that failed."""
    trailers = dict(error.trailing_metadata() or ())
    said = trailers.get("x-request-id")
    if said is None:
        return f"TRANSPORT/{error.code().name}"
    if said != request_id:
        return NOT_OURS
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    again = any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
    failure = from_rpc_error(error)
    return _named(failure.code_name, failure.reason, again)


def judged_response(response: httpx.Response, request_id: str, right: Right) -> str:
    """The bucket of an HTTP response."""
    said = response.headers.get("x-request-id")
    if said is None:
        return f"TRANSPORT/HTTP {response.status_code}"
    try:
        body = response.json()
        if said != request_id or body.get("request_id") != request_id:
            return NOT_OURS
        if response.status_code == 200:
            first = body["predictions"][0]
            return OK if right.same(first.get("index", 0), first["logit"]) else WRONG
        return _named(body["title"], body["reason"], "retry-after" in response.headers)
    except (ValueError, LookupError, TypeError, AttributeError):
        return UNREADABLE


def _named(code: str, reason: str, again: bool) -> str:
    """Who is refused for a full queue is told when to come again; a refusal that does not say so has its own bucket."""
    return f"{code}/{reason}" + (" without a delay" if reason == "QUEUE_FULL" and not again else "")
