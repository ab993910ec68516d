"""The service layer over a fake engine: what the real one cannot be made to do on command."""

import asyncio
import time
from dataclasses import replace

import pytest

from showcause.client.calls import explain_request
from showcause.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    out_of_range,
)
from showcause.gateway.metrics import Metrics
from showcause.gateway.service import Service
from showcause.manifest import read_manifest
from showcause.v1 import method_pb2, model_pb2, service_pb2
from showcause.wire import seal
from tests.gateway.served import EMPTY, sealed, served
from tests.series import total


class FakeEngine:
    """Answers with ``outcome``: bytes, or an exception to raise."""

    def __init__(self, outcome):
        self.outcome, self.calls = outcome, []

    async def answer(self, model, operation, request, deadline, request_id, keep):
        self.calls.append((model, operation, request, deadline, request_id))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def make(shipped):
    def service_with(outcome, **settings) -> Service:
        return Service(served([read_manifest(shipped)]), FakeEngine(outcome), Metrics(), **settings)

    return service_with


def ask(service: Service, data: bytes | None = None, **caller):
    data = explain_request(b"photo").SerializeToString() if data is None else data
    identity = service.caller(caller.get("request_id"), caller.get("seconds_left"))
    return asyncio.run(service.answer("explain", data, identity))


def counted(service: Service, model: str, code: str) -> float:
    return total(service.metrics.registry, "showcause_requests_total", model=model, operation="explain", code=code)


def test_a_good_reply_passes_with_id_and_time_appended(make):
    response = service_pb2.ExplainResponse(
        predictions=[model_pb2.Prediction(label="cat")], timings=model_pb2.Timings(forward_seconds=0.5, batch_size=3)
    )
    service = make(sealed(response.SerializeToString()))
    found = service_pb2.ExplainResponse.FromString(ask(service, request_id="scan-9"))
    assert found.predictions[0].label == "cat"
    assert found.request_id == "scan-9"
    assert found.timings.forward_seconds == 0.5
    assert found.timings.batch_size == 3
    assert found.timings.total_seconds > 0
    assert counted(service, "animals-bcos", "OK") == 1


def test_the_request_reaches_the_engine_unchanged_with_its_deadline(make):
    service = make(EMPTY, timeout_seconds=60)
    data = explain_request(b"photo", target=3).SerializeToString()
    ask(service, data, seconds_left=5)
    ask(service, data, seconds_left=500)
    for seconds, call in zip((5, 60), service.engine.calls, strict=True):
        assert call[:3] == ("animals-bcos", "explain", data)
        assert call[3] - time.time() == pytest.approx(seconds, abs=1)


def test_a_fault_of_ours_says_a_request_id_and_nothing_else(make):
    service = make(RuntimeError("a secret"))
    with pytest.raises(Internal) as caught:
        ask(service, request_id="scan-9")
    assert "scan-9" in caught.value.message
    assert "secret" not in caught.value.message
    assert counted(service, "animals-bcos", "INTERNAL") == 1
    assert service.in_flight == 0


def test_the_engine_s_errors_pass(make):
    with pytest.raises(Unavailable, match="no worker"):
        ask(make(Unavailable("ENGINE_UNAVAILABLE", "no worker")))


def test_the_worker_s_error_passes_in_the_envelope(make):
    service = make(seal(out_of_range("targets[0].class_index", 30, "0 to 29")))
    with pytest.raises(InvalidArgument) as caught:
        ask(service)
    assert (caught.value.field, caught.value.value, caught.value.allowed) == ("targets[0].class_index", "30", "0 to 29")


def test_what_is_wrong_before_a_model_is_known_is_counted_too(make):
    service = make(EMPTY)
    with pytest.raises(InvalidArgument, match=r"no showcause.v1.ExplainRequest"):
        ask(service, b"\xff\xff")
    with pytest.raises(NotFound):
        ask(service, explain_request(b"photo", model="nix").SerializeToString())
    assert counted(service, "", "INVALID_ARGUMENT") == counted(service, "", "NOT_FOUND") == 1
    assert not service.engine.calls


def test_a_request_that_is_large_beside_its_photo_is_refused_unread(make):
    request = explain_request(b"photo")
    request.output.pictures.extend([1] * 100_000)
    service = make(EMPTY)
    with pytest.raises(InvalidArgument, match="its photo not counted"):
        ask(service, request.SerializeToString())
    assert not service.engine.calls


def filter_parts(service: Service, **wishes):
    return ask(service, explain_request(b"photo", methods=["filter_parts"], **wishes).SerializeToString())


def test_a_method_of_another_model_is_refused_naming_the_models_that_answer_it(shipped):
    bcos = read_manifest(shipped)
    others = [replace(bcos, name=name, methods=("filter_parts",)) for name in ("parts-1", "parts-2")]
    service = Service(served([bcos, *others]), FakeEngine(EMPTY), Metrics())
    with pytest.raises(FailedPrecondition) as caught:
        filter_parts(service, model="animals-bcos")
    error = caught.value
    assert (error.reason, error.field, error.value) == ("METHOD_NOT_AVAILABLE", "methods[0]", "filter_parts")
    assert error.allowed == f"{', '.join(bcos.methods)}, or filter_parts of parts-1, parts-2"
    assert not service.engine.calls, "nothing is computed for it"
    filter_parts(service, model="parts-1")
    assert len(service.engine.calls) == 1
    assert counted(service, "animals-bcos", "FAILED_PRECONDITION") == 1


def test_a_method_that_no_model_answers_is_refused_too(make):
    with pytest.raises(FailedPrecondition) as caught:
        filter_parts(make(EMPTY))
    assert caught.value.allowed.startswith("linear_map, ")


def test_what_a_method_explains_is_told_as_it_is_for_the_model(shipped):
    parts = replace(read_manifest(shipped), methods=("filter_parts",), network="interpretable_alexnet")
    for options, kind in (({}, method_pb2.EXPLANATION_KIND_INHERENT), ({"head": "linear"}, 1), ({"head": "full"}, 2)):
        service = Service(served([replace(parts, network_options=options)]), FakeEngine(EMPTY), Metrics())
        found = service.get_model(service_pb2.GetModelRequest().SerializeToString()).model
        assert [(method.name, method.kind) for method in found.methods] == [("filter_parts", kind)]


def test_a_draining_service_refuses_new_requests(make):
    service = make(EMPTY)
    service.draining.set()
    with pytest.raises(Unavailable, match="stopping"):
        ask(service)


def test_request_ids_that_could_forge_a_log_are_replaced(make):
    service = make(EMPTY)
    assert service.caller("a\nb", None).request_id != "a\nb"
    assert service.caller("x" * 200, None).request_id != "x" * 200
    assert service.caller("ward-7.scan:12", None).request_id == "ward-7.scan:12"


def test_models_come_in_pages(shipped):
    manifests = [replace(read_manifest(shipped), name=name) for name in ("c", "a", "b")]
    service = Service(served(manifests), FakeEngine(EMPTY), Metrics())
    first = service.list_models(service_pb2.ListModelsRequest(page_size=2).SerializeToString())
    assert [model.name for model in first.models] == ["a", "b"]
    token = service_pb2.ListModelsRequest(page_size=2, page_token=first.next_page_token).SerializeToString()
    second = service.list_models(token)
    assert [model.name for model in second.models] == ["c"]
    assert second.next_page_token == ""
    with pytest.raises(InvalidArgument, match="page_token"):
        service.list_models(service_pb2.ListModelsRequest(page_token="z").SerializeToString())
    with pytest.raises(InvalidArgument, match=r"model: not allowed; got ''; allowed: a, b, c"):
        service.deployments.find("", "")
