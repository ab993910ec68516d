"""A service over real gRPC that answers as a test says: right, wrong, twice, not at all."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from benchmarks.soak.ask import Asker
from benchmarks.soak.mix import SERVICE, Kind, Request, Right
from showcause.errors import ResourceExhausted, to_status
from showcause.v1 import service_pb2

RIGHT = Right(3, 1.5)


def request(way: str = "unary", photos: int = 1) -> Request:
    """A call whose photos are all answered by class 3."""
    made = service_pb2.ExplainRequest(model="m")
    body = service_pb2.ExplainStreamRequest(request=made) if way == "stream" else made
    path = f"/{SERVICE}/{'ExplainStream' if way == 'stream' else 'Explain'}"
    return Request(Kind("m", "explain", way, 1), path, (body.SerializeToString(),) * photos, (RIGHT,) * photos)


def reply(request_id: str, index: int = 3, logit: float = 1.5) -> service_pb2.ExplainResponse:
    made = service_pb2.ExplainResponse(request_id=request_id)
    made.predictions.add(index=index, label="fox", logit=logit)
    return made


def event(name: str, **content: object) -> bytes:
    return service_pb2.ExplainStreamResponse(id=name, **content).SerializeToString()


def request_id(context: grpc.aio.ServicerContext) -> str:
    return dict(context.invocation_metadata())["x-request-id"]


async def refuse(context: grpc.aio.ServicerContext, **retry: float) -> None:
    """As the service does, with its id and its details."""
    own = ("x-request-id", request_id(context))
    status = to_status(ResourceExhausted("QUEUE_FULL", "full", **retry)).SerializeToString()
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (own, ("grpc-status-details-bin", status)))


@pytest.fixture
def asker():
    """``async with asker(unary=..., stream=...) as asker``: handlers (data, context) and (incoming, context)."""

    @asynccontextmanager
    async def running(unary=None, stream=None, patience_seconds=0.5):
        server = grpc.aio.server()
        handlers = {
            "Explain": grpc.unary_unary_rpc_method_handler(unary or (lambda *_: None)),
            "ExplainStream": grpc.stream_stream_rpc_method_handler(stream or (lambda *_: None)),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with Asker(f"127.0.0.1:{port}", "http://127.0.0.1:1", patience_seconds, connections=1) as made:
                made.server, made.address = server, f"127.0.0.1:{port}"
                yield made
        finally:
            await server.stop(0)

    return running


@pytest.fixture
def run():
    return asyncio.run
