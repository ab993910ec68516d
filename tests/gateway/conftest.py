"""The gateway over real gRPC, with a fake engine behind it."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from showcause.gateway import rpc
from showcause.gateway.metrics import Metrics
from showcause.gateway.service import Service
from showcause.gateway.settings import Settings
from showcause.manifest import read_manifest
from showcause.v1 import model_pb2, service_pb2
from tests.gateway.served import sealed, served


class QuickEngine:
    """Answers every photo at once with its own bytes as the label; a subclass may do otherwise."""

    async def answer(self, model, operation, request, deadline, request_id, keep):
        return await self.reply(service_pb2.ExplainRequest.FromString(request).input.image)

    async def reply(self, photo: bytes) -> bytes:
        label = photo.decode(errors="replace")
        return sealed(service_pb2.ExplainResponse(predictions=[model_pb2.Prediction(label=label)]).SerializeToString())


@pytest.fixture
def gateway(shipped):
    """``with gateway(engine) as (address, service)``; folder: of the model, the shipped one by default."""

    @contextmanager
    def running(engine, folder=shipped, **settings):
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        def wait_for(coroutine):
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

        async def start():
            service = Service(served([read_manifest(folder)]), engine, Metrics())
            chosen = Settings(shipped.parent, grpc_port=0, **settings)
            server, port = rpc.make_server(service, rpc.Health([]), chosen)
            await server.start()
            return service, server, port

        service, server, port = wait_for(start())
        try:
            yield f"127.0.0.1:{port}", service
        finally:
            wait_for(server.stop(0))
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    return running
