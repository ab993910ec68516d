"""ExplainStream over a fake engine: order, bounds and endings that the real one cannot be made to show on command."""

import asyncio

import pytest

from showcause.client.calls import explain_request
from showcause.errors import InvalidArgument, ResourceExhausted, Unavailable, out_of_range
from showcause.gateway.metrics import Metrics
from showcause.gateway.service import Service
from showcause.gateway.stream import explain_stream
from showcause.manifest import read_manifest
from showcause.v1 import input_pb2, model_pb2, service_pb2
from showcause.wire import seal
from tests.gateway.served import EMPTY, sealed, served


class SlowEngine:
    """Answers a photo when it is told to; counts how many it holds."""

    def __init__(self):
        self.gates: dict[bytes, asyncio.Event] = {}
        self.holding = self.most = self.calls = 0
        self.ids: list[str] = []

    def gate(self, photo: bytes) -> asyncio.Event:
        return self.gates.setdefault(photo, asyncio.Event())

    async def answer(self, model, operation, request, deadline, request_id, keep):
        self.calls += 1
        self.ids.append(request_id)
        photo = service_pb2.ExplainRequest.FromString(request).input.image
        self.holding += 1
        self.most = max(self.most, self.holding)
        try:
            if photo != b"at once":
                await self.gate(photo).wait()
        finally:
            self.holding -= 1
        if photo == b"bad":
            return seal(out_of_range("input.image", "bad", "good"))
        reply = service_pb2.ExplainResponse(predictions=[model_pb2.Prediction(label=photo.decode())])
        return sealed(reply.SerializeToString())


class Sender:
    """A caller's side; counts how many messages were taken."""

    def __init__(self, *photos: tuple[str, bytes], ends: bool = True):
        self.photos, self.ends, self.taken = list(photos), ends, 0

    async def __aiter__(self):
        for name, photo in self.photos:
            self.taken += 1
            message = service_pb2.ExplainStreamRequest(id=name, request=explain_request(photo))
            yield message.SerializeToString()
        if not self.ends:
            await asyncio.Event().wait()


@pytest.fixture
def engine():
    return SlowEngine()


@pytest.fixture
def service(shipped, engine):
    return Service(served([read_manifest(shipped)]), engine, Metrics(), timeout_seconds=5)


async def opened(service, sender, window=4, deadline=None):
    events = explain_stream(service, aiter(sender), service.caller("scan", None, "stream"), deadline, window)
    async for event in events:
        yield service_pb2.ExplainStreamResponse.FromString(event)


def numbered(count: int) -> list[tuple[str, bytes]]:
    return [(str(n), f"photo {n}".encode()) for n in range(count)]


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


def test_answers_come_as_they_are_ready_under_their_ids(service, engine):
    async def run():
        sender = Sender(("slow", b"first"), ("quick", b"second"), ("wrong", b"bad"))
        stream = opened(service, sender)
        engine.gate(b"second").set()
        quick = await anext(stream)
        engine.gate(b"bad").set()
        wrong = await anext(stream)
        engine.gate(b"first").set()
        slow = await anext(stream)
        assert [event.id for event in (quick, wrong, slow)] == ["quick", "wrong", "slow"]
        assert quick.response.predictions[0].label == "second"
        assert quick.response.request_id == "scan.2"
        assert (wrong.error.field, wrong.error.code, wrong.error.allowed) == ("input.image", 3, "good")
        assert not wrong.error.HasField("retry_delay_seconds")
        assert [event async for event in stream] == []

    asyncio.run(run())


def test_no_more_is_read_than_the_window_holds_and_a_slow_reader_holds_the_sender_back(service, engine):
    async def run():
        sender = Sender(*numbered(50))
        stream = opened(service, sender, window=4)
        first = asyncio.ensure_future(anext(stream))
        await settled()
        assert (sender.taken, engine.holding) == (4, 4)
        for _, photo in sender.photos:  # everything could be answered at once now,
            engine.gate(photo).set()
        await first
        await settled()
        assert sender.taken == 4, "but nobody has come back for the first answer's room"
        await anext(stream)
        await settled()
        assert sender.taken == 5
        rest = [event.id async for event in stream]
        assert len(rest) == 48
        assert engine.most <= 4

    asyncio.run(run())


def test_a_photo_waits_where_a_call_is_refused(service, engine):
    async def run():
        (deployment,) = service.deployments
        deployment.admission.slots, deployment.admission.most_waiting = 1, 0
        opening = asyncio.create_task(collected(service, ("a", b"slow"), ("b", b"at once")))
        while not engine.calls:
            await asyncio.sleep(0.001)
        call = service_pb2.ExplainRequest(input=input_pb2.Input(image=b"at once")).SerializeToString()
        with pytest.raises(ResourceExhausted) as caught:
            await service.answer("explain", call, service.caller(None, None))
        assert caught.value.reason == "QUEUE_FULL"
        assert caught.value.retry_seconds > 0
        engine.gate(b"slow").set()
        assert {event.id: event.WhichOneof("event") for event in await opening} == {"a": "response", "b": "response"}

    asyncio.run(run())


async def collected(service, *photos):
    return [event async for event in opened(service, Sender(*photos))]


@pytest.mark.parametrize("name", ["", "x" * 257, "ü" * 129])
def test_ids_that_are_none_are_refused_alone(service, engine, name):
    async def run():
        events = [event async for event in opened(service, Sender((name, b"at once"), ("good", b"at once")))]
        assert {event.id: event.WhichOneof("event") for event in events} == {name: "error", "good": "response"}
        assert next(event for event in events if event.id == name).error.field == "id"

    asyncio.run(run())


def test_an_id_may_come_again_once_it_is_answered(service, engine):
    async def run():
        stream = opened(service, Sender(("a", b"one"), ("a", b"two"), ("b", b"three")))
        twice = await anext(stream)
        assert (twice.id, twice.error.field) == ("a", "id")
        for photo in (b"one", b"two", b"three"):
            engine.gate(photo).set()
        assert {event.id async for event in stream} == {"a", "b"}
        again = Sender(("a", b"at once"), ("a", b"at once"))
        events = [event async for event in opened(service, again, window=1)]
        assert [event.WhichOneof("event") for event in events] == ["response", "response"]

    asyncio.run(run())


def test_bytes_that_are_no_message_end_the_stream_after_the_answers(service, engine):
    async def messages():
        yield service_pb2.ExplainStreamRequest(id="a", request=explain_request(b"at once")).SerializeToString()
        yield b"\xff\xff"
        raise AssertionError("nothing is read after it")

    async def run():
        stream = explain_stream(service, messages(), service.caller("scan", None, "stream"), None, 4)
        assert service_pb2.ExplainStreamResponse.FromString(await anext(stream)).id == "a"
        with pytest.raises(InvalidArgument, match="ExplainStreamRequest"):
            await anext(stream)

    asyncio.run(run())


def test_a_service_that_drains_answers_what_it_has_read_and_reads_no_more(service, engine):
    async def run():
        sender = Sender(("a", b"one"), ("b", b"two"), ends=False)
        stream = opened(service, sender, window=4)
        first = asyncio.ensure_future(anext(stream))
        await settled()
        assert service.streams == 1
        service.draining.set()
        engine.gate(b"one").set()
        engine.gate(b"two").set()
        assert {(await first).id, (await anext(stream)).id} == {"a", "b"}
        with pytest.raises(Unavailable, match="stopping"):
            await anext(stream)
        assert service.streams == service.in_flight == 0

    asyncio.run(run())


def test_a_stream_that_has_ended_before_a_drain_ended_well(service, engine):
    async def run():
        sender = Sender(*numbered(4))
        stream = opened(service, sender, window=4)
        first = asyncio.ensure_future(anext(stream))
        await settled()
        service.draining.set()
        for _, photo in sender.photos:
            engine.gate(photo).set()
        assert len({(await first).id, *[event.id async for event in stream]}) == 4

    asyncio.run(run())


def test_a_caller_who_goes_leaves_nothing_behind(service, engine):
    async def run():
        stream = explain_stream(service, aiter(Sender(*numbered(9))), service.caller("scan", None, "stream"), None, 4)
        following = asyncio.ensure_future(anext(stream))
        await settled()
        assert engine.holding == 4
        following.cancel()
        await settled()
        await stream.aclose()
        await settled()
        assert (engine.holding, service.in_flight, service.streams) == (0, 0, 0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_the_stream_s_deadline_is_every_photo_s(service, engine):
    async def run():
        import time

        seen = []
        engine.answer = lambda *call: seen.append(call[3]) or asyncio.sleep(0, EMPTY)
        soon = time.time() + 1
        [event async for event in opened(service, Sender(("a", b"x")), deadline=soon)]
        [event async for event in opened(service, Sender(("a", b"x")))]
        assert seen[0] == pytest.approx(soon, abs=0.1)
        assert seen[1] == pytest.approx(time.time() + 5, abs=0.5)

    asyncio.run(run())
