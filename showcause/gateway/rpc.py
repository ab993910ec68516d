"""The service over gRPC: convert, call, convert. Health and reflection beside it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from showcause.errors import ShowcauseError, internal, to_status
from showcause.gateway.service import Caller, Service
from showcause.gateway.settings import Settings
from showcause.gateway.stream import explain_stream
from showcause.v1 import service_pb2
from showcause.wire import MOST_STREAMED_BYTES

log = logging.getLogger(__name__)

SERVICE_NAME = service_pb2.DESCRIPTOR.services_by_name["ExplanationService"].full_name
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
Handler = Callable[[bytes, Caller], Awaitable[bytes]]


class Health:
    """grpc.health.v1: the server "", the service, and each model by its name."""

    WHOLE = ("", SERVICE_NAME)

    def __init__(self, models: Iterable[str]):
        self.servicer = health_aio.HealthServicer()
        self._names = [*self.WHOLE, *models]

    async def set(self, serving: bool, *names: str) -> None:
        """Sets the status of the names given, or of all."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in names or self._names:
            await self.servicer.set(name, status)


def make_server(service: Service, health: Health, settings: Settings) -> tuple[grpc.aio.Server, int]:
    """A server, not started yet, and the port that it will listen on."""
    # Well above the limit on photos, so that one that is over it gets our error, which names the field, and not gRPC's,
    # which would end a stream.
    most_bytes = max(2 * service.limits.image_bytes, MOST_STREAMED_BYTES) + (1 << 20)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a lottery
        ]
    )

    async def list_models(data: bytes, _: Caller) -> bytes:
        return service.list_models(data).SerializeToString()

    async def get_model(data: bytes, _: Caller) -> bytes:
        return service.get_model(data).SerializeToString()

    async def get_channel_importance(data: bytes, _: Caller) -> bytes:
        # A thousand classes take a moment.
        return await asyncio.to_thread(lambda: service.get_channel_importance(data).SerializeToString())

    handlers: dict[str, Handler] = {
        "Explain": lambda data, caller: service.answer("explain", data, caller),
        "Predict": lambda data, caller: service.answer("predict", data, caller),
        "ListModels": list_models,
        "GetModel": get_model,
        "GetChannelImportance": get_channel_importance,
    }
    # No deserializers: the service takes and gives bytes.
    methods = {name: grpc.unary_unary_rpc_method_handler(_guarded(service, run)) for name, run in handlers.items()}
    methods["ExplainStream"] = grpc.stream_stream_rpc_method_handler(_streamed(service, settings.stream_window))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection(
        (SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME), server
    )
    host, port = settings.host, settings.grpc_port
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return server, server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error


def _guarded(service: Service, run: Handler) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]:
    """Adds the caller's id and deadline, and turns errors into status and details."""

    async def handle(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        caller = service.caller(_request_id(context), context.time_remaining())
        async with _errors(context, caller.request_id):
            return await run(data, caller)

    return handle


def _streamed(
    service: Service, window: int
) -> Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext], AsyncIterator[bytes]]:
    """The same for ExplainStream."""

    async def handle(incoming: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        left = context.time_remaining()
        deadline = None if left is None else time.time() + left
        request_id = service.caller(_request_id(context), None).request_id
        events = explain_stream(service, incoming, request_id, deadline, window)
        async with _errors(context, request_id), aclosing(events):
            async for event in events:
                yield event

    return handle


def _request_id(context: grpc.aio.ServicerContext) -> str | None:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return metadata.get("x-request-id")


@asynccontextmanager
async def _errors(context: grpc.aio.ServicerContext, request_id: str) -> AsyncIterator[None]:
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
