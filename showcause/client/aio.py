"""The client for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from showcause import reply as r
from showcause.client import calls, connect
from showcause.client.outgoing import IN_HAND, Named, Outgoing
from showcause.errors import from_rpc_error
from showcause.v1 import model_pb2, service_pb2
from showcause.v1.service_pb2_grpc import ExplanationServiceStub
from showcause.wire import read_event, read_reply


class AsyncClient:
    """``showcause.Client`` for asyncio: the same arguments and results.

    async with showcause.AsyncClient() as client:
        replies = await asyncio.gather(*(client.explain(photo) for photo in photos))
    """

    def __init__(
        self,
        address: str = calls.DEFAULT_ADDRESS,
        timeout_seconds: float = calls.DEFAULT_TIMEOUT_SECONDS,
        metadata: Sequence[tuple[str, str]] = (),
        *,
        token: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        tls: bool | None = None,
    ):
        credentials = connect.credentials(address, token, ca, certificate, key, tls)
        options = connect.options(address)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=options)
        self._stub: Any = ExplanationServiceStub(self._channel)
        self._timeout, self._metadata = timeout_seconds, (*metadata, *connect.authorization(token))

    async def explain(self, photo: calls.Photo, **wishes: Any) -> r.Reply:
        """See ``Client.explain``."""
        return read_reply(await self._call(self._stub.Explain, calls.explain_request(photo, **wishes)))

    async def explain_stream(
        self, photos: Iterable[Named] | AsyncIterable[Named], **wishes: Any
    ) -> AsyncIterator[r.Streamed]:
        """See ``Client.explain_stream``; photos may come from an asynchronous iterable, too."""
        outgoing = Outgoing(wishes)
        arrived: asyncio.Queue[r.Streamed | Exception | None] = asyncio.Queue(IN_HAND)

        async def send() -> AsyncIterator[service_pb2.ExplainStreamRequest]:
            try:
                async for photo in _each(photos):
                    message = await asyncio.to_thread(outgoing.message, photo)
                    if isinstance(message, r.Streamed):
                        await arrived.put(message)
                    else:
                        yield message
            except Exception as error:  # the caller's own: it must not be lost in gRPC's task
                outgoing.error = error

        call: Any = self._stub.ExplainStream(send(), metadata=self._metadata)

        async def receive() -> None:
            try:
                async for event in call:
                    if (done := read_event(event)) is not None:
                        outgoing.answered(done.id)
                        await arrived.put(done)
                end = outgoing.error or outgoing.end()
            except grpc.aio.AioRpcError as error:
                end = outgoing.error or from_rpc_error(error)
            except Exception as error:
                end = error
            await arrived.put(end)

        receiving = asyncio.create_task(receive())
        try:
            while (thing := await self._next(arrived, outgoing)) is not None:
                if isinstance(thing, Exception):
                    raise thing
                yield thing
        finally:
            receiving.cancel()
            call.cancel()

    async def _next(self, arrived: "asyncio.Queue[Any]", outgoing: Outgoing) -> r.Streamed | Exception | None:
        since = time.monotonic()
        while (left := outgoing.left(since, self._timeout)) > 0:
            try:
                thing: r.Streamed | Exception | None = await asyncio.wait_for(arrived.get(), left)
                return thing
            except TimeoutError:
                continue
        return outgoing.overdue(self._timeout)

    async def predict(self, photo: calls.Photo, **wishes: Any) -> r.Reply:
        """See ``Client.predict``."""
        return read_reply(await self._call(self._stub.Predict, calls.predict_request(photo, **wishes)))

    async def models(self) -> list[model_pb2.Model]:
        """All served models, without their cards."""
        found: list[model_pb2.Model] = []
        request = service_pb2.ListModelsRequest()
        while True:
            page = await self._call(self._stub.ListModels, request)
            found += page.models
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def model(self, name: str = "", version: str = "") -> model_pb2.Model:
        """One model, with its card."""
        reply = await self._call(self._stub.GetModel, service_pb2.GetModelRequest(model=name, version=version))
        message: model_pb2.Model = reply.model
        return message

    async def channels(self, model: str = "", **wishes: Any) -> service_pb2.GetChannelImportanceResponse:
        """See ``Client.channels``."""
        message: service_pb2.GetChannelImportanceResponse = await self._call(
            self._stub.GetChannelImportance, calls.channels_request(model, **wishes)
        )
        return message

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _each(photos: Iterable[Named] | AsyncIterable[Named]) -> AsyncIterator[Named]:
    if isinstance(photos, AsyncIterable):
        async for photo in photos:
            yield photo
        return
    following = iter(photos)
    while (one := await asyncio.to_thread(_one, following)) is not None:  # it may wait for a disk or a network
        yield one[0]


def _one(photos: Iterator[Named]) -> tuple[Named] | None:
    return next(((photo,) for photo in photos), None)
