"""What is found out about requests: the log's lines, and what the metrics count."""

import asyncio
import json
import logging

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from showcause.client import Client
from showcause.client.calls import explain_request, predict_request
from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.errors import FailedPrecondition, InvalidArgument, NotFound, Unauthenticated
from showcause.gateway import metrics_app
from showcause.gateway.access import Access, add_token
from showcause.gateway.logs import Json, Text
from showcause.gateway.metrics import Metrics
from showcause.gateway.rest import make_app
from showcause.gateway.service import Service
from showcause.gateway.settings import Settings
from showcause.manifest import read_manifest
from showcause.v1 import model_pb2, service_pb2
from showcause.wire import seal
from tests.gateway.conftest import QuickEngine
from tests.gateway.served import EMPTY, served
from tests.gateway.test_rest_http import Web
from tests.gateway.test_service import FakeEngine
from tests.series import total

STAGES = {"decode": 0.01, "forward": 0.02, "explain": 0.03, "render": 0.04}
ANSWER = Envelope(
    response=service_pb2.ExplainResponse().SerializeToString(),
    cost_seconds={"pass": 0.1, "linear_map": 0.2},
    stage_seconds=STAGES,
    batch_size=3,
    first_of_batch=True,
    receipt_sha256="ab" * 32,
    residuals={"linear_map": 2e-6},
).SerializeToString()
PHOTO, TOKEN = b"a photo of somebody", "nobody-may-read-this"


@pytest.fixture
def service(shipped):
    return Service(served([read_manifest(shipped)]), FakeEngine(ANSWER), Metrics())


@pytest.fixture
def lines(caplog):
    """The log so far, each record as its JSON object."""
    caplog.set_level(logging.INFO, "showcause.requests")
    return lambda: [json.loads(Json().format(record)) for record in caplog.records]


def ask(service: Service, request=None, **caller) -> None:
    data = (request or explain_request(PHOTO)).SerializeToString()
    asyncio.run(service.answer("explain", data, service.caller(caller.get("request_id"), None)))


def test_a_request_has_one_line_that_says_what_became_of_it(service, lines):
    ask(service, request_id="scan-9")
    (line,) = lines()
    assert {name: line[name] for name in ("level", "logger", "request_id", "protocol", "operation", "code")} == {
        "level": "INFO", "logger": "showcause.requests", "request_id": "scan-9", "protocol": "grpc",
        "operation": "explain", "code": "OK",
    }  # fmt: skip
    assert (line["model"], line["version"], line["methods"]) == ("animals-bcos", "1.0", ["linear_map"])
    assert (line["receipt_sha256"], line["batch_size"]) == ("ab" * 32, 3)
    assert line["request_bytes"] > len(PHOTO)
    assert line["response_bytes"] > 0
    seconds = line["seconds"]
    assert {stage: seconds[stage] for stage in STAGES} == STAGES
    assert list(seconds) == ["upload", "queue", "engine", *STAGES, "total"]
    assert line["time"].endswith("Z")
    assert PHOTO.decode() not in json.dumps(line)


def test_errors_say_whose_they_are(service, lines):
    with pytest.raises(NotFound):
        ask(service, explain_request(PHOTO, model="nix"))
    with pytest.raises(FailedPrecondition):
        ask(service, explain_request(PHOTO, methods=["chip"]))
    service.engine.outcome = RuntimeError("a secret")
    with pytest.raises(Exception, match="request id"):
        ask(service)
    found = [(line["level"], line["code"], line["reason"], line["model"]) for line in lines() if "code" in line]
    assert found == [
        ("INFO", "NOT_FOUND", "MODEL_NOT_FOUND", ""),
        ("INFO", "FAILED_PRECONDITION", "METHOD_NOT_AVAILABLE", "animals-bcos"),
        ("WARNING", "INTERNAL", "INTERNAL", "animals-bcos"),
    ]


def test_who_goes_away_is_counted_as_such(service, lines):
    async def story():
        service.engine.answer = lambda *_: asyncio.sleep(60)
        call = asyncio.create_task(
            service.answer("explain", explain_request(PHOTO).SerializeToString(), service.caller("gone", None))
        )
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    asyncio.run(story())
    assert [(line["code"], line["request_id"]) for line in lines()] == [("CANCELLED", "gone")]
    assert service.in_flight == 0


def test_a_deadline_that_grpc_sees_first_is_no_leaving(service, lines):
    """gRPC cancels what the service is computing when the deadline passes; its clock may be a little ahead of ours."""

    async def story():
        service.engine.answer = lambda *_: asyncio.sleep(60)
        caller = service.caller("late", 0.3)
        call = asyncio.create_task(service.answer("explain", explain_request(PHOTO).SerializeToString(), caller))
        await asyncio.sleep(0.25)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    asyncio.run(story())
    assert [(line["code"], line["reason"]) for line in lines()] == [("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")]


def test_what_a_caller_takes_to_send_is_told_apart(service, lines):
    async def story():
        caller = service.caller(None, None)
        with service.watch("predict", caller) as seen:
            await asyncio.sleep(0.1)
            seen.arrived()
            await service.answer_seen("predict", predict_request(PHOTO).SerializeToString(), caller, seen)

    asyncio.run(story())
    (line,) = lines()
    assert line["seconds"]["upload"] == pytest.approx(0.1, abs=0.05)
    assert line["seconds"]["total"] < 0.05
    assert total(service.metrics.registry, "showcause_stage_seconds_count", stage="upload") == 1


def test_what_a_stream_refuses_is_counted(gateway, lines):
    with gateway(QuickEngine(), max_streams=1, max_stream_photos=2) as (address, service), Client(address) as client:
        list(client.explain_stream([("same", PHOTO), ("", PHOTO)]))
        with pytest.raises(InvalidArgument, match="at most 2"):
            list(client.explain_stream([PHOTO] * 3))
        counted = {
            labels: total(service.metrics.registry, "showcause_requests_total", code=labels)
            for labels in ("OK", "INVALID_ARGUMENT")
        }
    assert counted == {"OK": 3, "INVALID_ARGUMENT": 2}
    refused = [line for line in lines() if line.get("code") == "INVALID_ARGUMENT"]
    assert {line["protocol"] for line in refused} == {"stream"}
    assert all(line["peer"].startswith(("ipv4:127.0.0.1:", "ipv6:")) for line in refused)


def test_text_is_for_people(service, caplog):
    caplog.set_level(logging.INFO, "showcause.requests")
    ask(service, request_id="scan-9")
    said = Text("%(levelname)s %(message)s").format(caplog.records[0])
    assert said.startswith("INFO explain animals-bcos: OK request_id=scan-9 methods=linear_map batch_size=3 upload=0ms")
    assert "decode=10ms forward=20ms" in said
    assert Text("%(message)s").format(logging.makeLogRecord({"msg": "plain"})) == "plain"


def test_a_log_line_is_one_line_whatever_callers_send(service, lines):
    ask(service, request_id="two\nlines")
    (line,) = lines()
    assert "\n" not in line["request_id"]
    record = logging.makeLogRecord({"msg": "one\ntwo", "levelname": "ERROR", "exc_info": None})
    assert "\n" not in Json().format(record)


def test_what_was_measured_is_counted(service):
    for _ in range(2):
        ask(service)
    registry, model = service.metrics.registry, {"model": "animals-bcos"}
    one = model | {"method": "linear_map"}
    assert total(registry, "showcause_request_latency_seconds_count", **one, operation="explain") == 2
    for stage, seconds in STAGES.items():
        assert total(registry, "showcause_stage_seconds_sum", **one, stage=stage) == pytest.approx(2 * seconds)
    assert total(registry, "showcause_method_seconds_sum", **one) == pytest.approx(0.4)
    assert total(registry, "showcause_residual_ratio_sum", **one) == pytest.approx(4e-6)
    assert total(registry, "showcause_batch_size_sum", **model) == 6
    # Of the first nothing was expected; the second was what the first had been.
    assert total(registry, "showcause_cost_ratio_count", **model) == 1
    assert total(registry, "showcause_cost_ratio_sum", **model) == pytest.approx(1)
    assert total(registry, "showcause_in_flight_requests") == 0


def test_a_batch_is_counted_once(service):
    for first in (True, False, False):
        service.engine.outcome = seal(service_pb2.ExplainResponse(), batch_size=3, first_of_batch=first)
        ask(service)
    assert total(service.metrics.registry, "showcause_batch_size_count") == 1
    assert total(service.metrics.registry, "showcause_batch_size_sum") == 3


def test_the_label_for_methods_has_few_values(service):
    ask(service, explain_request(PHOTO, methods=["gradient", "grad_cam"]))
    data = predict_request(PHOTO).SerializeToString()
    asyncio.run(service.answer("predict", data, service.caller(None, None)))
    for operation, method in (("explain", "several"), ("predict", "")):
        labels = {"operation": operation, "method": method}
        assert total(service.metrics.registry, "showcause_request_latency_seconds_count", **labels) == 1


def test_the_envelope_says_what_stands_in_the_reply():
    timings = model_pb2.Timings(**{f"{stage}_seconds": seconds for stage, seconds in STAGES.items()})
    response = service_pb2.ExplainResponse(timings=timings, receipt=model_pb2.Receipt(model="m", input_width=7))
    envelope = Envelope.FromString(seal(response, batch_size=2))
    assert dict(envelope.stage_seconds) == STAGES
    other = Envelope.FromString(seal(service_pb2.ExplainResponse(receipt=model_pb2.Receipt(model="m"))))
    assert len({envelope.receipt_sha256, other.receipt_sha256, ""}) == 3


def test_calls_over_grpc_are_counted_those_refused_at_the_door_too(gateway, tmp_path, lines):
    path = tmp_path / "tokens.toml"
    token = add_token(path, "ward-7", None, False)
    with gateway(QuickEngine(), access=Access(path)) as (address, service):
        with Client(address) as client, pytest.raises(Unauthenticated):
            client.explain(PHOTO)
        with Client(address, token=TOKEN) as client, pytest.raises(Unauthenticated):
            client.explain_stream([PHOTO]).__next__()
        with Client(address, token=token) as client:
            client.explain(PHOTO)
            client.models()
            list(client.explain_stream([PHOTO, PHOTO]))
        registry = service.metrics.registry
        assert total(registry, "showcause_requests_total", code="UNAUTHENTICATED", reason="INVALID_TOKEN") == 2
        assert total(registry, "showcause_requests_total", code="OK", operation="explain") == 3
        assert total(registry, "showcause_requests_total", code="OK", operation="list_models") == 1
    found = lines()
    assert [line["protocol"] for line in found if line["code"] == "OK" and line["operation"] == "explain"] == [
        "grpc", "stream", "stream",
    ]  # fmt: skip
    assert {line["caller"] for line in found if line["code"] == "OK"} == {"ward-7"}
    assert TOKEN not in json.dumps(found)
    assert token not in json.dumps(found)


def test_calls_over_rest_are_counted_the_same(shipped, tmp_path, lines):
    path = tmp_path / "tokens.toml"
    token = add_token(path, "ward-7", None, False)
    service = Service(served([read_manifest(shipped)]), FakeEngine(EMPTY), Metrics())
    client = Web(make_app(service, Settings(shipped.parent, access=Access(path))))
    good = {"authorization": f"Bearer {token}"}
    client.post("/v1/models/animals-bcos:explain", content=PHOTO, headers={"content-type": "image/jpeg"})
    client.post("/v1/models/animals-bcos:explain", content=PHOTO, headers=good | {"content-type": "image/jpeg"})
    client.get("/v1/models", headers=good)
    client.get("/healthz")
    client.get("/nix", headers=good)
    found = [(line["protocol"], line["operation"], line["code"], line["caller"]) for line in lines()]
    assert found == [
        ("rest", "explain", "UNAUTHENTICATED", ""),
        ("rest", "explain", "OK", "ward-7"),
        ("rest", "list_models", "OK", "ward-7"),
    ]


ENGINE_TEXT = """\
# HELP QueueTime Torchserve prometheus gauge metric with unit: Milliseconds
# TYPE QueueTime gauge
QueueTime{Level="Host",Hostname="a",} 2.0
# HELP Requests2XX Torchserve prometheus counter metric with unit: Count
# TYPE Requests2XX counter
Requests2XX{Level="Host",Hostname="a",} 29.0
"""


@pytest.mark.parametrize("text", [ENGINE_TEXT, "", "no metrics {at all"])
def test_torchserve_s_series_are_passed_on_in_both_formats(service, text):
    async def scraped(accept: str) -> str:
        transport = httpx.ASGITransport(metrics_app.make_app(service, Access(), lambda: text))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get("/metrics", headers={"accept": accept})).text

    ask(service)
    for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
        said = asyncio.run(scraped(accept))
        assert ('QueueTime{Hostname="a",Level="Host"} 2.0' in said) == (text == ENGINE_TEXT)
        assert "showcause_model_info{" in said
    names = {family.name for family in text_string_to_metric_families(said)}  # raises where it is no OpenMetrics
    assert "showcause_stage_seconds" in names


def test_workers_that_take_the_place_of_others_are_counted(service):
    (deployment,) = service.deployments
    story = [({11: True}, 0), ({11: True}, 0), ({12: False}, 1), ({}, 0), ({12: True}, 0), ({13: True}, 1)]
    for states, new in story:
        assert deployment.see_workers(states) == new
        assert deployment.ready == (sum(states.values()) == 1)
