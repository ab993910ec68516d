"""The client for asyncio."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any

import grpc

from showcause import reply as r
from showcause.client import calls
from showcause.client.outgoing import Named, Outgoing
from showcause.client.sync import WATCH_SECONDS
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
    ):
        self._channel = grpc.aio.insecure_channel(address, options=calls.CHANNEL_OPTIONS)
        self._stub: Any = ExplanationServiceStub(self._channel)
        self._timeout, self._metadata = timeout_seconds, tuple(metadata)

    async def explain(self, photo: calls.Photo, **wishes: Any) -> r.Reply:
        """See ``Client.explain``."""
        return read_reply(await self._call(self._stub.Explain, calls.explain_request(photo, **wishes)))

    async def explain_stream(
        self, photos: Iterable[Named] | AsyncIterable[Named], **wishes: Any
    ) -> AsyncIterator[r.Streamed]:
        """See ``Client.explain_stream``; photos may come from an asynchronous iterable, too."""
        outgoing = Outgoing(wishes, self._timeout)

        async def requests() -> AsyncIterator[service_pb2.ExplainStreamRequest]:
            try:
                async for photo in _each(photos):
                    if (request := await asyncio.to_thread(outgoing.request, photo)) is not None:
                        yield request
            except Exception as error:  # the caller's own: it must not be lost in gRPC's task
                outgoing.error = error

        call: Any = self._stub.ExplainStream(requests(), metadata=self._metadata)

        async def watch() -> None:
            while not outgoing.overdue():
                await asyncio.sleep(WATCH_SECONDS)
            call.cancel()

        watching = asyncio.create_task(watch())
        try:
            async for event in call:
                while outgoing.failed:
                    yield outgoing.failed.popleft()
                if (done := read_event(event)) is not None:
                    outgoing.answered()
                    yield done
            for failed in outgoing.failed:
                yield failed
            if outgoing.error:
                raise outgoing.error
        except grpc.aio.AioRpcError as error:
            raise outgoing.error or from_rpc_error(error) from None
        except asyncio.CancelledError:
            if outgoing.error is None:  # it is ours who are cancelled, and not the call
                raise
            raise outgoing.error from None
        finally:
            watching.cancel()
            call.cancel()

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
    else:
        for photo in photos:
            yield photo
