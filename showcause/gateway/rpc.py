"""The service over gRPC: convert, call, convert. Health and reflection beside it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from showcause.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    ShowcauseError,
    internal,
    to_status,
)
from showcause.gateway.access import Access, Identity
from showcause.gateway.seen import Seen
from showcause.gateway.service import Caller, Service
from showcause.gateway.settings import Settings
from showcause.gateway.stream import explain_stream
from showcause.v1 import service_pb2
from showcause.wire import MOST_STREAMED_BYTES

log = logging.getLogger(__name__)

SERVICE_NAME = service_pb2.DESCRIPTOR.services_by_name["ExplanationService"].full_name
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
Handler = Callable[[bytes, Caller, Seen], Awaitable[bytes]]
OPERATIONS = {  # by the names of the RPCs
    "Explain": "explain",
    "Predict": "predict",
    "ListModels": "list_models",
    "GetModel": "get_model",
    "GetChannelImportance": "get_channel_importance",
    "ExplainStream": "explain",
}
LIVE = "live"
HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
SLOW_CLIENTS = [
    ("grpc.server_handshake_timeout_ms", 10_000),  # TLS and HTTP/2's first words; gRPC's default is 120 s
    ("grpc.max_connection_idle_ms", 600_000),  # without a call; clients connect again by themselves
    ("grpc.keepalive_time_ms", 60_000),  # with calls: is anybody there? gRPC's default is 2 h
    ("grpc.keepalive_timeout_ms", 20_000),
    # Clients may ask the same every 10 s (gRPC's default, 5 min, ends connections of clients with usual settings).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
]
_identity: ContextVar[Identity] = ContextVar("identity")  # set at the door, read where the call is answered


class Health:
    """grpc.health.v1: the server "", the service, each model by its name, and "live" for the process itself."""

    WHOLE = ("", SERVICE_NAME)

    def __init__(self, models: Iterable[str]):
        self.servicer = health_aio.HealthServicer()
        self.models = dict.fromkeys(models)  # all that ever were: of one that was unloaded it is told, too

    async def begin(self) -> None:
        """The process runs, and says so until it ends: whoever restarts what does not live asks for that."""
        await self.servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)

    async def set(self, serving: bool, *names: str) -> None:
        """Sets the status of the names given."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in set(names) - {LIVE}:
            await self.servicer.set(name, status)


def make_server(service: Service, health: Health, settings: Settings) -> tuple[grpc.aio.Server, int]:
    """A server, not started yet, and the port that it will listen on."""
    # Well above the limit on photos, so that one that is over it gets our error, which names the field, and not gRPC's,
    # which would end a stream.
    most_bytes = max(2 * service.limits.image_bytes, MOST_STREAMED_BYTES) + (1 << 20)
    server = grpc.aio.server(
        interceptors=[_Door(service, settings.access)],
        options=[
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a lottery
            ("grpc.max_concurrent_streams", settings.max_connection_calls),
            *SLOW_CLIENTS,
            *_connection_age(settings.max_connection_age_seconds),
        ],
    )

    async def list_models(data: bytes, caller: Caller, _: Seen) -> bytes:
        return service.list_models(data, caller.identity).SerializeToString()

    async def get_model(data: bytes, caller: Caller, seen: Seen) -> bytes:
        return service.get_model(data, caller.identity, seen).SerializeToString()

    async def get_channel_importance(data: bytes, caller: Caller, seen: Seen) -> bytes:
        # A thousand classes take a moment.
        return await asyncio.to_thread(
            lambda: service.get_channel_importance(data, caller.identity, seen).SerializeToString()
        )

    handlers: dict[str, Handler] = {
        "Explain": lambda data, caller, seen: service.answer_seen("explain", data, caller, seen),
        "Predict": lambda data, caller, seen: service.answer_seen("predict", data, caller, seen),
        "ListModels": list_models,
        "GetModel": get_model,
        "GetChannelImportance": get_channel_importance,
    }
    # No deserializers: the service takes and gives bytes. A request is taken for a stream of one message, which is the
    # same on the wire, so that reading it is ours to begin and to give up.
    uploads = asyncio.Semaphore(settings.max_uploads)
    methods = {
        name: grpc.stream_unary_rpc_method_handler(_guarded(service, OPERATIONS[name], uploads, run))
        for name, run in handlers.items()
    }
    service.metrics.most_streams.set(settings.max_streams)
    methods["ExplainStream"] = grpc.stream_stream_rpc_method_handler(_streamed(service, settings))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection((SERVICE_NAME, HEALTH_NAME, reflection.SERVICE_NAME), server)
    credentials = settings.tls.credentials() if settings.tls else None
    return server, _listen(server, settings.host, settings.grpc_port, credentials)


def _connection_age(seconds: float) -> list[tuple[str, int]]:
    """After which clients are told to connect again, to a new replica perhaps; calls go on over the old connection."""
    return [("grpc.max_connection_age_ms", int(1000 * seconds))] if seconds else []


def make_health_server(health: Health, settings: Settings) -> tuple[grpc.aio.Server, int]:
    """Health alone, in plain text and for everybody, for probes that speak no TLS; and the port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 10), *SLOW_CLIENTS])
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    return server, _listen(server, settings.host, settings.health_port or 0, None)


def _listen(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error


class _Door(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Asks every call who it is, before its message is read. Probes of the health cannot tell, and are let in."""

    def __init__(self, service: Service, access: Access):
        self.service, self.access = service, access

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        if not details.method.startswith(f"/{HEALTH_NAME}/"):
            try:
                _identity.set(self.access.admit(_header(details.invocation_metadata, "authorization")))
            except ShowcauseError as error:
                return self._refusal(error, OPERATIONS.get(details.method.rpartition("/")[2], ""))
        return await continuation(details)

    def _refusal(self, error: ShowcauseError, operation: str) -> Any:
        async def refuse(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            request_id = _header(context.invocation_metadata(), "x-request-id")
            caller = self.service.caller(request_id, None, peer=context.peer())
            async with errors_as_status(context, caller.request_id):
                with self.service.watch(operation, caller):
                    raise error
            yield b""  # never: it makes this a stream, of which nothing is read unless it is asked for

        return grpc.stream_stream_rpc_method_handler(refuse)


def _guarded(
    service: Service, operation: str, uploads: asyncio.Semaphore, run: Handler
) -> Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext], Awaitable[bytes]]:
    """Adds who asks, their id and deadline, watches, and turns errors into status and details."""

    async def handle(incoming: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        request_id = _header(context.invocation_metadata(), "x-request-id")
        caller = service.caller(request_id, context.time_remaining(), peer=context.peer())
        caller = replace(caller, identity=_identity.get())
        async with errors_as_status(context, caller.request_id):
            with service.watch(operation, caller) as seen:
                try:
                    async with asyncio.timeout(caller.deadline - time.time()), uploads:
                        data = await anext(incoming, None)
                except TimeoutError:
                    raise DeadlineExceeded("DEADLINE_EXCEEDED", "the request did not arrive in time") from None
                if data is None:
                    raise InvalidArgument("REQUEST_MALFORMED", "the call has no message")
                seen.arrived()
                return await run(data, caller, seen)

    return handle


def _streamed(
    service: Service, settings: Settings
) -> Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext], AsyncIterator[bytes]]:
    """The same for ExplainStream."""

    async def handle(incoming: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        left = context.time_remaining()
        deadline = None if left is None else time.time() + left
        request_id = _header(context.invocation_metadata(), "x-request-id")
        caller = replace(service.caller(request_id, None, "stream", context.peer()), identity=_identity.get())
        async with errors_as_status(context, caller.request_id):
            if service.streams >= settings.max_streams:
                with service.watch("explain", caller):
                    text = f"{service.streams} streams are open, and no more are taken"
                    raise ResourceExhausted("TOO_MANY_AT_ONCE", text)
            window, most = settings.stream_window, settings.max_stream_photos
            events = explain_stream(service, incoming, caller, deadline, window, most)
            async with aclosing(events):
                async for event in events:
                    yield event

    return handle


def _header(metadata: Iterable[tuple[str, str | bytes]] | None, name: str) -> str | None:
    return next((value for key, value in metadata or () if key == name and isinstance(value, str)), None)


@asynccontextmanager
async def errors_as_status(context: grpc.aio.ServicerContext, request_id: str) -> AsyncIterator[None]:
    # In the trailers, not the initial metadata: once those are sent, gRPC's clients no longer retry.
    identity = ("x-request-id", request_id)
    context.set_trailing_metadata((identity,))
    try:
        yield
        return
    except ShowcauseError as error:
        failure = error
    except Exception:
        log.exception("request %s failed", request_id)
        failure = internal(request_id)
    status = to_status(failure)
    details = (identity, ("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(STATUS_CODES[status.code], status.message, details)
