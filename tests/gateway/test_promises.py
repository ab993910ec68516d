"""What the service promises when workers die, queues are full and deadlines near, over engines that misbehave."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from showcause.client.calls import explain_request, predict_request
from showcause.errors import DeadlineExceeded, Internal, ResourceExhausted
from showcause.gateway import metrics_app
from showcause.gateway.access import Access
from showcause.gateway.engine_client import WorkerDied
from showcause.gateway.metrics import Metrics
from showcause.gateway.service import Service
from showcause.manifest import read_manifest
from showcause.v1 import service_pb2
from tests.gateway.served import EMPTY, sealed, served


class MortalEngine:
    """Its worker dies of a batch with a deadly photo in it, or when it is told to; a batch is what it has in hand."""

    def __init__(self):
        self.in_hand: dict[bytes, asyncio.Future[None]] = {}
        self.alone: list[bytes] = []  # what was computed, or died, with nothing beside it
        self.calls: list[bytes] = []

    async def answer(self, model, operation, request, deadline, request_id, keep):
        photo = service_pb2.ExplainRequest.FromString(request).input.image
        self.calls.append(photo)
        fate = self.in_hand[photo] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.02, self.finish)
        try:
            await fate
        finally:
            self.in_hand.pop(photo, None)
        return EMPTY

    def finish(self):
        if len(self.in_hand) == 1:
            self.alone += self.in_hand
        dead = any(b"deadly" in photo for photo in self.in_hand)
        for fate in self.in_hand.values():
            if not fate.done():
                fate.set_exception(WorkerDied("of the batch")) if dead else fate.set_result(None)


@pytest.fixture
def service(shipped):
    return Service(served([read_manifest(shipped)], queue_size=2), MortalEngine(), Metrics(), timeout_seconds=5)


async def outcome(service, photo: bytes, seconds: float | None = None, **wishes) -> str:
    data = explain_request(photo, **wishes).SerializeToString()
    try:
        await service.answer("explain", data, service.caller(photo.decode(), seconds))
    except Exception as error:
        return getattr(error, "reason", repr(error))
    return "OK"


def test_a_deadly_request_is_given_up_after_two_workers_and_its_neighbours_are_answered(service):
    async def story():
        photos = [b"one", b"deadly", b"two", b"three"]
        found = await asyncio.gather(*(outcome(service, photo) for photo in photos))
        assert dict(zip(photos, found, strict=True)) == {
            b"one": "OK", b"deadly": "WORKER_DIED", b"two": "OK", b"three": "OK",
        }  # fmt: skip
        assert sorted(service.engine.alone) == sorted(photos), "each suspect was asked again with nobody beside it"
        assert service.engine.calls.count(b"deadly") == 2, "no loop"
        assert len(service.engine.calls) == 8
        assert await outcome(service, b"four") == "OK"

    asyncio.run(story())
    labels = {"model": "animals-bcos"}
    assert service.metrics.registry.get_sample_value("showcause_repeated_requests_total", labels) == 4


def test_what_is_given_up_says_so_and_is_not_asked_again_by_clients(service):
    async def story():
        data = explain_request(b"deadly").SerializeToString()
        await service.answer("explain", data, service.caller("scan-9", None))

    with pytest.raises(Internal, match="twice, and it is not tried again; request id scan-9"):
        asyncio.run(story())


def test_a_repetition_keeps_the_deadline(service):
    """Its worker dies, and its turn alone does not come in time."""

    async def story():
        first = asyncio.create_task(outcome(service, b"deadly", seconds=0.3))
        await asyncio.sleep(0)
        (deployment,) = service.deployments
        async with deployment.admission.turn(10**10):
            assert await first == "DEADLINE_EXCEEDED"
        assert service.engine.calls == [b"deadly"]
        assert deployment.admission.in_flight == 0

    asyncio.run(story())


def test_a_deadline_that_cannot_be_met_fails_at_once(service):
    async def story():
        (deployment,) = service.deployments
        deployment.costs.learn({"pass": 0.4, "linear_map": 0.3, "picture": 0.1})
        assert await outcome(service, b"one", seconds=0.5) == "DEADLINE_TOO_SHORT"
        assert await outcome(service, b"one", seconds=2, top_k=6) == "DEADLINE_TOO_SHORT"
        assert service.engine.calls == [], "nothing was computed"
        data = explain_request(b"one").SerializeToString()
        with pytest.raises(DeadlineExceeded, match=r"would take about 0.7 s \(0 s for .*deadline leaves 0.5 s"):
            await service.answer("explain", data, service.caller(None, 0.5))
        data = predict_request(b"one").SerializeToString()
        await service.answer("predict", data, service.caller(None, 0.5))
        with deployment.admission.counted(1.0):
            assert await outcome(service, b"one", seconds=1.5) == "DEADLINE_TOO_SHORT", "others come first"
        assert await outcome(service, b"one", seconds=1.5) == "OK"
        assert deployment.admission.backlog_seconds == 0

    asyncio.run(story())


def test_waiting_photos_of_streams_refuse_no_call(service):
    """They take turns with calls: a hundred seconds of them are not before a call."""

    async def story():
        (deployment,) = service.deployments
        deployment.costs.learn({"pass": 1.0})
        deployment.admission.slots = 1
        data = explain_request(b"streamed").SerializeToString()
        caller = replace(service.caller(None, 60), protocol="stream")
        photos = [asyncio.create_task(service.answer("explain", data, caller)) for _ in range(20)]
        await asyncio.sleep(0)
        assert deployment.admission.waiting == 19
        assert deployment.admission.backlog_seconds == 1.0, "what the engine has"
        assert await outcome(service, b"one", seconds=3) == "OK"
        for photo in photos:
            photo.cancel()
        await asyncio.gather(*photos, return_exceptions=True)
        assert deployment.admission.backlog_seconds == 0

    asyncio.run(story())


def test_costs_are_learned_from_answers_and_published(shipped):
    class Engine:
        async def answer(self, *_):
            return sealed(b"", **{"pass": 0.25, "linear_map": 0.125})

    service = Service(served([read_manifest(shipped)]), Engine(), Metrics())
    assert asyncio.run(outcome(service, b"one")) == "OK"
    model = service.get_model(b"").model
    assert model.cost_seconds == 0.25
    assert {method.name: method.cost_seconds for method in model.methods}["linear_map"] == 0.125
    said = httpx.ASGITransport(metrics_app.make_app(service, Access()))

    async def scraped():
        async with httpx.AsyncClient(transport=said, base_url="http://test") as client:
            return (await client.get("/metrics")).text.splitlines()

    labels = f'model="animals-bcos",version="{model.version}"'
    lines = asyncio.run(scraped())
    for step, seconds in (("pass", 0.25), ("linear_map", 0.125)):
        assert (
            f'showcause_cost_seconds{{model="animals-bcos",step="{step}",version="{model.version}"}} {seconds}' in lines
        )
    for name in ("waiting_requests", "engine_requests"):
        assert f"showcause_{name}{{{labels}}} 0.0" in lines


def test_beyond_the_queue_requests_are_refused_at_once_and_those_who_wait_are_answered(service):
    async def story():
        (deployment,) = service.deployments
        deployment.admission.slots = 1
        tasks = [asyncio.create_task(outcome(service, str(n).encode())) for n in range(5)]
        await asyncio.sleep(0.005)
        assert [task.done() for task in tasks] == [False] * 3 + [True] * 2
        assert await asyncio.gather(*tasks) == ["OK"] * 3 + ["QUEUE_FULL"] * 2

    asyncio.run(story())


def test_who_leaves_while_waiting_never_reaches_the_engine(service):
    async def story():
        (deployment,) = service.deployments
        deployment.admission.slots = 1
        first, second = (asyncio.create_task(outcome(service, photo)) for photo in (b"one", b"two"))
        await asyncio.sleep(0.005)
        second.cancel()
        assert await first == "OK"
        await asyncio.gather(second, return_exceptions=True)
        assert service.engine.calls == [b"one"]
        assert deployment.admission.in_flight == 0
        assert deployment.admission.backlog_seconds == 0

    asyncio.run(story())


def test_refusals_carry_retry_info(service):
    from google.rpc import error_details_pb2

    from showcause.errors import from_status, to_status

    error = ResourceExhausted("QUEUE_FULL", "full", retry_seconds=2.5)
    (again,) = [d for d in to_status(error).details if d.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    assert error_details_pb2.RetryInfo.FromString(again.value).retry_delay.ToTimedelta().total_seconds() == 2.5
    assert from_status(to_status(error)).retry_seconds == 2.5
