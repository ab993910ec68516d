"""Both clients' streams over real gRPC: slow callers, photos that cannot be sent, and services that are odd."""

import asyncio
import time
from itertools import count
from pathlib import Path

import pytest

from showcause import AsyncClient, Client
from showcause.errors import DeadlineExceeded, Unavailable
from showcause.gateway import stream
from showcause.gateway.engine_client import WorkerDied
from tests.gateway.conftest import QuickEngine


class SilentEngine(QuickEngine):
    async def reply(self, photo):
        if photo == b"silence":
            await asyncio.Event().wait()
        return await super().reply(photo)


@pytest.fixture
def served(gateway):
    with gateway(SilentEngine()) as (address, _):
        yield address


def asked(address: str, photos, timeout_seconds: float = 60.0, **wishes) -> list:
    with Client(address, timeout_seconds) as client:
        return list(client.explain_stream(photos, **wishes))


def asked_async(address: str, photos, timeout_seconds: float = 60.0, **wishes) -> list:
    async def run():
        async with AsyncClient(address, timeout_seconds) as client:
            return [done async for done in client.explain_stream(photos, **wishes)]

    return asyncio.run(run())


BOTH = pytest.mark.parametrize("ask", [asked, asked_async], ids=["sync", "async"])


def test_what_the_caller_does_with_an_answer_is_not_waiting(served):
    with Client(served, timeout_seconds=0.5) as client:
        answers = client.explain_stream(b"x" for _ in range(100))
        next(answers)
        time.sleep(1.2)
        assert len(list(answers)) == 99


def test_a_source_that_pauses_is_not_waited_for(served):
    def slowly():
        for photo in (b"one", b"two"):
            yield photo
            time.sleep(1.2)

    assert len(asked(served, slowly(), timeout_seconds=0.5)) == 2
    assert len(asked_async(served, slowly(), timeout_seconds=0.5)) == 2


@BOTH
def test_silence_has_an_end(served, ask):
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"no answer for 0.5 s, with 1 photos waiting"):
        ask(served, [b"one", b"silence"], timeout_seconds=0.5)
    assert time.monotonic() - began < 10


@BOTH
def test_photos_that_cannot_be_sent_fail_alone(served, ask, tmp_path):
    sparse = tmp_path / "sparse.tif"
    with open(sparse, "wb") as file:
        file.truncate(50 << 30)  # would not fit into memory
    given = [
        b"good", bytearray(b"odd"), None, tmp_path / "missing.jpg", "nul\0byte.jpg", sparse, ("\udce4rztin", b"name"),
        tmp_path,
    ]  # fmt: skip
    found = ask(served, given)
    assert len(found) == len(given)
    good = [done for done in found if done.error is None]
    assert [done.id for done in good] == ["0"]
    assert "at most 33554432 bytes" in next(str(done.error) for done in found if done.id == str(sparse))


@BOTH
def test_failures_come_as_they_happen_and_in_constant_memory(served, ask):
    with Client(served) as client:
        told = client.explain_stream(Path(f"/missing/{number}") for number in count())
        assert [next(told).id for _ in range(1000)] == [f"/missing/{number}" for number in range(1000)]
        told.close()
    assert len(ask(served, [Path(f"/missing/{number}") for number in range(100)])) == 100


@BOTH
def test_the_same_path_again_is_another_photo(served, ask, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"a")
    found = ask(served, [path] * 20)
    assert len({done.id for done in found}) >= 1
    assert all(done.reply for done in found)


@BOTH
def test_wishes_that_mean_nothing_are_refused_before_anything_is_sent(served, ask):
    def never():
        raise AssertionError("no photo is taken")
        yield

    with pytest.raises(ValueError, match="picture is 'gif'"):
        ask(served, never(), pictures=["gif"])


@BOTH
def test_a_photo_that_the_service_forgets_is_not_taken_for_done(gateway, ask, monkeypatch):
    async def forgetful(self, message, caller):
        self.waiting.discard(message.id)

    monkeypatch.setattr(stream._Stream, "_answer", forgetful)
    with gateway(QuickEngine()) as (address, _), pytest.raises(Unavailable, match="1 photos have no answer"):
        ask(address, [b"one"])


def test_an_error_of_a_kind_that_the_contract_does_not_have_is_told_all_the_same(gateway):
    class Odd(QuickEngine):
        async def reply(self, photo):
            raise Unavailable("TIRED", "no more today")

    with gateway(Odd()) as (address, service):
        service.timeout_seconds = 1
        (done,) = asked(address, [b"one"])
    assert "no more today" in str(done.error)
    assert done.error.reason == "UNSPECIFIED"


def test_a_worker_that_died_once_is_asked_again(gateway):
    class Dying(QuickEngine):
        calls = 0

        async def reply(self, photo):
            self.calls += 1
            if self.calls == 1:
                raise WorkerDied("just so")
            return await super().reply(photo)

    engine = Dying()
    with gateway(engine) as (address, _):
        (done,) = asked(address, [b"one"])
    assert done.reply.predictions[0].label == "one"
    assert engine.calls == 2


def test_leaving_early_leaves_nothing_behind(gateway):
    with gateway(QuickEngine()) as (address, service), Client(address) as client:
        for done in client.explain_stream(b"x" for _ in count()):
            assert done.reply
            break
        for _ in range(100):
            if not service.streams:
                break
            time.sleep(0.05)
        assert (service.streams, service.in_flight) == (0, 0)


def test_asyncio_s_cancellation_is_not_swallowed(served):
    def given():
        yield b"silence"
        raise LookupError("the list ended early")

    async def run():
        async with AsyncClient(served) as client, asyncio.timeout(0.5):
            async for _ in client.explain_stream(given()):
                pass

    with pytest.raises(TimeoutError):
        asyncio.run(run())
