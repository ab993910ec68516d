"""The gateway's client of TorchServe, over a real gRPC server that fails as TorchServe does."""

import asyncio
import time
from contextlib import asynccontextmanager

import grpc
import pytest

from showcause.engine.v1 import call_pb2, prediction_pb2
from showcause.errors import DeadlineExceeded, Unavailable
from showcause.gateway.engine_client import METHOD, TorchServeClient, WorkerDied

KEPT: list[asyncio.Future] = []  # calls that go on although nobody waits
SERVICE, NAME = METHOD.strip("/").split("/")


# Of the INTERNAL error that answers a request for the model of that name.
DETAILS = {
    "died": "Worker died.\nInternalServerException.()",
    "none": "Model none has no worker to serve inference request. Please use scale workers API to add workers.",
}


class Failing:
    def __init__(self) -> None:
        self.calls: list[call_pb2.Call] = []
        self.held, self.over = asyncio.Event(), asyncio.Event()

    async def answer(self, request, context):
        batch = call_pb2.Batch.FromString(request.input["batch"]).calls
        self.calls += batch
        if request.model_name in DETAILS:
            await context.abort(grpc.StatusCode.INTERNAL, DETAILS[request.model_name])
        if request.model_name == "slow":
            self.held.set()
            await self.over.wait()
        envelopes = [] if request.model_name == "odd" else [b"fine"] * len(batch)
        return prediction_pb2.PredictionResponse(prediction=call_pb2.Answers(envelopes=envelopes).SerializeToString())


@asynccontextmanager
async def torchserve(engine):
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        engine.answer,
        request_deserializer=prediction_pb2.PredictionsRequest.FromString,
        response_serializer=prediction_pb2.PredictionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {NAME: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def run(story, gone):
    KEPT.clear()

    async def told():
        engine, client = Failing(), TorchServeClient(gone, lambda model: (1, 4))
        async with torchserve(engine) as target:
            try:
                await asyncio.wait_for(story(engine, client, target), 20)
            finally:
                await client.close()

    asyncio.run(told())


def ask(client, model: str, seconds: float = 10):
    return client.answer(model, "explain", b"request", time.time() + seconds, "scan-9", KEPT.append)


def test_what_the_handler_needs_goes_along(tmp_path):
    async def story(engine, client, target):
        client.connect(target, "token")
        assert await ask(client, "m") == b"fine"
        (call,) = engine.calls
        assert (call.operation, call.request, call.request_id) == ("explain", b"request", "scan-9")
        assert call.deadline == pytest.approx(time.time() + 10, abs=2)
        assert len(call.ticket) == 32

    run(story, tmp_path)


def test_torchserve_s_errors_are_told_apart(tmp_path):
    async def story(engine, client, target):
        client.connect(target, "token")
        with pytest.raises(WorkerDied, match="Worker died"):
            await ask(client, "died")
        with pytest.raises(Unavailable, match="model none has no worker"):
            await ask(client, "none")
        with pytest.raises(WorkerDied, match="0 of 1"):
            await ask(client, "odd")
        with pytest.raises(DeadlineExceeded):
            await ask(client, "slow", 0.1)
        assert not list(tmp_path.iterdir()), "the worker knows the deadline"
        assert len(KEPT) == 1, "and is not done with it"

    run(story, tmp_path)


def test_who_goes_away_leaves_a_mark_for_the_worker(tmp_path):
    async def story(engine, client, target):
        client.connect(target, "token")
        task = asyncio.create_task(ask(client, "slow"))
        await engine.held.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [path.name for path in tmp_path.iterdir()] == [engine.calls[0].ticket]
        (batch,) = KEPT
        assert not batch.done(), "TorchServe has it still"
        engine.over.set()
        await batch

    run(story, tmp_path)


def test_an_engine_that_goes_is_a_worker_that_died_and_the_next_one_is_waited_for(tmp_path):
    async def story(engine, client, target):
        client.connect(target, "token")
        held = asyncio.create_task(ask(client, "slow"))
        await engine.held.wait()
        await client.disconnect()
        with pytest.raises(WorkerDied):
            await held
        assert not list(tmp_path.iterdir()), "nobody went away"
        waiting = asyncio.create_task(ask(client, "m"))
        with pytest.raises(DeadlineExceeded):
            await ask(client, "m", 0.1)
        assert not waiting.done()
        client.connect(target, "token")
        assert await waiting == b"fine"

    run(story, tmp_path)


def test_a_connection_that_breaks_is_a_worker_that_died(tmp_path):
    async def story(engine, client, next_target):
        async with torchserve(engine) as target:
            client.connect(target, "token")
            held = asyncio.create_task(ask(client, "slow"))
            await engine.held.wait()
        with pytest.raises(WorkerDied):
            await held
        assert not client.connected
        again = asyncio.create_task(ask(client, "m"))
        await asyncio.sleep(0.05)
        assert not again.done(), "nothing goes there until somebody has looked"
        client.connect(next_target, "token")
        assert await again == b"fine"

    run(story, tmp_path)


def test_marks_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("showcause.gateway.engine_client.MOST_MARKS", 3)

    async def story(engine, client, target):
        for number in range(5):
            client._mark(str(number))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "4"]

    run(story, tmp_path)
