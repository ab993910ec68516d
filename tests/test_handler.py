"""What TorchServe calls: a batch of rows, of which each is answered for itself."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from showcause.client.calls import explain_request, predict_request
from showcause.engine.v1 import call_pb2
from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.errors import DeadlineExceeded
from showcause.handler import Handler
from showcause.v1 import service_pb2
from showcause.wire import unseal


@pytest.fixture
def gone(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOWCAUSE_GONE", str(tmp_path))
    monkeypatch.setenv("SHOWCAUSE_WORKER_THREADS", "1")
    return tmp_path


@pytest.fixture
def handler(shipped, gone):
    handler = Handler()
    properties = {"model_dir": str(shipped.parent / "animals-cnn"), "gpu_id": None}
    handler.initialize(SimpleNamespace(system_properties=properties))
    return handler


def row(request, ticket: str, seconds: float = 60) -> dict[str, bytearray]:
    operation = "predict" if isinstance(request, service_pb2.PredictRequest) else "explain"
    call = call_pb2.Call(
        operation=operation,
        request=request.SerializeToString(),
        deadline=time.time() + seconds,
        request_id="scan-9",
        ticket=ticket,
    )
    return {"call": bytearray(call.SerializeToString())}  # as TorchServe hands it over


def test_what_nobody_waits_for_is_not_computed_and_its_neighbours_are(handler, gone, photo):
    request = explain_request(photo, methods=["cam", "grad_cam"], top_k=2, pictures=["overlay"])
    (gone / "left").touch()
    sealed = handler.handle([row(request, "here"), row(request, "left"), row(request, "late", -1)], None)
    reply = service_pb2.ExplainResponse.FromString(unseal(sealed[0]))
    assert reply.predictions[0].label == "cat"
    with pytest.raises(DeadlineExceeded, match="gone away"):
        unseal(sealed[1])
    with pytest.raises(DeadlineExceeded, match="deadline passed"):
        unseal(sealed[2])
    assert [len(Envelope.FromString(one).cost_seconds) for one in sealed] == [4, 0, 0]


def test_who_leaves_after_the_photo_was_read_costs_no_pass(handler, gone, photo, monkeypatch):
    """The worker looks once more before the network runs."""
    run, passes = handler.model.net.run, []
    monkeypatch.setattr(handler.model.net, "run", lambda *args: passes.append(len(args[0])) or run(*args))
    from showcause import worker

    decode = worker.decode

    def leaving(*arguments):
        (gone / "leaving").touch()
        return decode(*arguments)

    monkeypatch.setattr(worker, "decode", leaving)
    (sealed,) = handler.handle([row(predict_request(photo), "leaving")], None)
    with pytest.raises(DeadlineExceeded, match="gone away"):
        unseal(sealed)
    assert passes == []


def test_costs_are_of_the_item_s_own_steps(handler, photo):
    request = explain_request(photo, methods=["cam", "gradient"], target=[1, 2, 3], pictures=["overlay"])
    explained, predicted = handler.handle([row(request, "a"), row(predict_request(photo), "b")], None)
    cost = Envelope.FromString(explained).cost_seconds
    assert set(cost) == {"pass", "picture", "cam", "gradient"}
    assert all(0 < seconds < 30 for seconds in cost.values())
    assert cost["gradient"] > cost["cam"], "one goes back through the network, the other reads a head"
    assert set(Envelope.FromString(predicted).cost_seconds) == {"pass"}


def test_without_a_gateway_nobody_is_gone(shipped, monkeypatch):
    monkeypatch.delenv("SHOWCAUSE_GONE", raising=False)
    handler = Handler()
    handler.initialize(
        SimpleNamespace(system_properties={"model_dir": str(shipped.parent / "animals-cnn"), "gpu_id": None})
    )
    assert handler.gone == Path(os.devnull)
    assert not (handler.gone / "ticket").exists()
