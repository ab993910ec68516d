"""What TorchServe calls: a batch of rows, of which each is answered for itself."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from showcause.client.calls import explain_request, predict_request
from showcause.engine.v1 import call_pb2
from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.errors import DeadlineExceeded
from showcause.handler import Handler, together
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


def call(request, ticket: str, seconds: float = 60) -> call_pb2.Call:
    operation = "predict" if isinstance(request, service_pb2.PredictRequest) else "explain"
    return call_pb2.Call(
        operation=operation,
        request=request.SerializeToString(),
        deadline=time.time() + seconds,
        request_id="scan-9",
        ticket=ticket,
    )


def row(*calls: call_pb2.Call) -> dict[str, bytearray]:
    """As TorchServe hands it over."""
    return {"batch": bytearray(call_pb2.Batch(calls=calls).SerializeToString())}


def handle(handler, *calls: call_pb2.Call) -> list[bytes]:
    """The envelopes of one batch."""
    (answer,) = handler.handle([row(*calls)], None)
    return list(call_pb2.Answers.FromString(answer).envelopes)


def test_what_nobody_waits_for_is_not_computed_and_its_neighbours_are(handler, gone, photo):
    request = explain_request(photo, methods=["cam", "grad_cam"], top_k=2, pictures=["overlay"])
    (gone / "left").touch()
    sealed = handle(handler, call(request, "here"), call(request, "left"), call(request, "late", -1))
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

    decode = worker.decode_enough

    def leaving(*arguments):
        (gone / "leaving").touch()
        return decode(*arguments)

    monkeypatch.setattr(worker, "decode_enough", leaving)
    (sealed,) = handle(handler, call(predict_request(photo), "leaving"))
    with pytest.raises(DeadlineExceeded, match="gone away"):
        unseal(sealed)
    assert passes == []


def test_costs_are_of_the_item_s_own_steps(handler, photo):
    request = explain_request(photo, methods=["cam", "gradient"], target=[1, 2, 3], pictures=["overlay"])
    explained, predicted = handle(handler, call(request, "a"), call(predict_request(photo), "b"))
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


def test_rows_of_a_torchserve_that_forms_batches_too(handler, gone, photo):
    """Batches of the gateway's beside a plain photo and what is none, each answered in its own way."""
    first, second = (call(predict_request(photo, prediction_count=count), str(count)) for count in (1, 2))
    answers = handler.handle([row(first, second), {"body": bytearray(photo)}, {"data": "no photo"}], None)
    envelopes = call_pb2.Answers.FromString(answers[0]).envelopes
    replies = [service_pb2.PredictResponse.FromString(unseal(one)) for one in envelopes]
    assert [len(reply.predictions) for reply in replies] == [1, 2]
    assert json.loads(answers[1])["predictions"][0]["label"] == "cat"
    assert json.loads(answers[2])["code"] == 3


def test_replies_that_do_not_fit_together_are_left_for_a_next_time(monkeypatch):
    monkeypatch.setattr("showcause.handler.MOST_ANSWER_BYTES", 10)
    for envelopes, wanted in (
        ([b"12345", b"67890", b"1"], [b"12345", b"67890", b""]),
        ([b"larger than all", b"1"], [b"larger than all", b""]),
        ([b"1", b"larger than all", b"2"], [b"1", b"", b""]),
    ):
        assert list(call_pb2.Answers.FromString(together(envelopes)).envelopes) == wanted
