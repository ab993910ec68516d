"""Health for those who ask without TLS and tokens, and connections that end for a reason."""

import asyncio
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from showcause.client import Client
from showcause.gateway import rpc
from showcause.gateway.access import Access, add_token
from showcause.gateway.settings import Settings
from tests.gateway.conftest import QuickEngine
from tests.series import total

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_port_of_its_own_tells_the_health_and_nothing_else(tmp_path):
    """With tokens, and however little the service is ready: the process lives."""
    path = tmp_path / "tokens.toml"
    add_token(path, "ward-7", None, False)

    async def story():
        health = rpc.Health(["animals-bcos"])
        await health.begin()
        await health.set(False, "animals-bcos", *rpc.Health.WHOLE, rpc.LIVE)
        server, port = rpc.make_health_server(health, Settings(tmp_path, access=Access(path), health_port=0))
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = health_pb2_grpc.HealthStub(channel).Check
            found = {
                name: (await ask(health_pb2.HealthCheckRequest(service=name))).status
                for name in ("", rpc.SERVICE_NAME, "animals-bcos", rpc.LIVE)
            }
            other = channel.unary_unary(f"/{rpc.SERVICE_NAME}/ListModels")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await other(b"")
        await server.stop(0)
        return found, refused.value.code()

    found, code = asyncio.run(story())
    assert found == {"": NOT_SERVING, rpc.SERVICE_NAME: NOT_SERVING, "animals-bcos": NOT_SERVING, rpc.LIVE: SERVING}
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_calls_outlive_the_age_of_their_connection(gateway):
    """Clients are told to connect again; what runs goes on, and nothing is lost."""

    class SlowEngine(QuickEngine):
        async def reply(self, photo):
            await asyncio.sleep(0.3)
            return await super().reply(photo)

    with gateway(SlowEngine(), max_connection_age_seconds=0.1) as (address, _), Client(address) as client:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert client.explain(b"cat").predictions[0].label == "cat"
        assert [done.reply.predictions[0].label for done in client.explain_stream([b"a", b"b"])] == ["a", "b"]


def test_one_address_may_stand_for_several_replicas(gateway):
    """The clients' own settings: each gets its share, and one that is gone is not asked."""
    with gateway(QuickEngine()) as (one, first), gateway(QuickEngine()) as (other, second):
        with Client(f"ipv4:{one},{other}") as client:
            for _ in range(20):
                client.explain(b"cat")
        shares = [total(each.metrics.registry, "showcause_requests_total", code="OK") for each in (first, second)]
        assert min(shares) >= 8, "but for the first, before the second connection stood"
        with Client(f"ipv4:{one},127.0.0.1:1") as client:
            for _ in range(5):
                client.explain(b"cat")
