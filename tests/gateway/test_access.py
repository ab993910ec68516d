"""Who gets in: what no token, a wrong one and one for another model are told, by gRPC, REST and the metrics."""

import asyncio
import time
from dataclasses import replace

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from starlette.routing import Route

from showcause import AsyncClient, Client
from showcause.errors import PermissionDenied, ShowcauseError, Unauthenticated
from showcause.gateway import metrics_app
from showcause.gateway.access import Access, add_token
from showcause.gateway.metrics import Metrics
from showcause.gateway.rest import make_app
from showcause.gateway.rpc import SERVICE_NAME
from showcause.gateway.service import Service
from showcause.gateway.settings import Settings
from showcause.manifest import read_manifest
from showcause.v1 import service_pb2
from tests.gateway.conftest import QuickEngine
from tests.gateway.served import EMPTY, served
from tests.gateway.test_rest_http import RAW, Web
from tests.gateway.test_service import FakeEngine

ONE = "animals-bcos"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def doors(gateway, path):
    """A gRPC gateway with tokens: (address, service), and tokens for its model, for another, and for all."""
    tokens = {
        "own": add_token(path, "own", [ONE], False),
        "other": add_token(path, "other", ["animals-cnn", "secret"], False),
        "all": add_token(path, "all", None, False),
    }
    with gateway(QuickEngine(), access=Access(path)) as (address, service):
        yield address, service, tokens


def failed(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    details = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(details["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert details["x-request-id"]
    return caught.value.code(), info.reason


CALLS = {
    "Explain": lambda client: client.explain(b"x", model=ONE),
    "Predict": lambda client: client.predict(b"x", model=ONE),
    "GetModel": lambda client: client.model(ONE),
    "GetChannelImportance": lambda client: client.channels(ONE),
    "ListModels": lambda client: client.models(),
    "ExplainStream": lambda client: list(client.explain_stream([b"x"], model=ONE)),
}


def test_the_calls_are_all_that_the_service_has():
    assert set(CALLS) == set(service_pb2.DESCRIPTOR.services_by_name["ExplanationService"].methods_by_name)


@pytest.mark.parametrize("name", CALLS)
def test_grpc_refuses_who_has_no_token_or_a_wrong_one(doors, name):
    address, _, _ = doors
    for token in (None, "wrong"):
        with Client(address, token=token) as client, pytest.raises(Unauthenticated) as caught:
            CALLS[name](client)
        assert caught.value.reason == "INVALID_TOKEN"


@pytest.mark.parametrize("name", CALLS)
def test_a_token_for_another_model_gets_nothing_of_this_one(doors, name):
    address, _, tokens = doors
    with Client(address, token=tokens["other"]) as client:
        if name == "ListModels":
            assert client.models() == []
            return
        if name == "ExplainStream":
            (done,) = client.explain_stream([b"x"], model=ONE)
            error = done.error
        else:
            with pytest.raises(PermissionDenied) as caught:
                CALLS[name](client)
            error = caught.value
    assert isinstance(error, PermissionDenied)
    assert error.reason == "INSUFFICIENT_SCOPE"
    assert (error.value, error.allowed) == (ONE, "animals-cnn, secret")


@pytest.mark.parametrize("name", [name for name in CALLS if name != "GetChannelImportance"])
@pytest.mark.parametrize("token", ["own", "all"])
def test_the_right_token_is_answered(doors, name, token):
    address, _, tokens = doors
    with Client(address, token=tokens[token]) as client:
        assert CALLS[name](client)


def test_the_asynchronous_client_brings_its_token_too(doors):
    address, _, tokens = doors

    async def ask(token: str):
        async with AsyncClient(address, token=token) as client:
            return await client.models(), [done async for done in client.explain_stream([b"x"], model=ONE)]

    (model,), (done,) = asyncio.run(ask(tokens["own"]))
    assert model.name == ONE
    assert done.reply
    with pytest.raises(Unauthenticated):
        asyncio.run(ask("wrong"))


def test_a_model_that_is_not_served_and_one_that_is_not_theirs_are_told_alike(doors):
    address, _, tokens = doors
    with Client(address, token=tokens["other"]) as client:
        errors = []
        for model in (ONE, "no-such-model"):
            with pytest.raises(PermissionDenied) as caught:
                client.predict(b"x", model=model)
            errors.append(caught.value.message.replace(model, "MODEL"))
        assert errors[0] == errors[1]
        with pytest.raises(ShowcauseError) as caught:
            client.predict(b"x")
        assert ONE not in caught.value.message


def test_refused_before_anything_is_sent(doors):
    """A unary call that never sends its message would wait for ever where the message is read first."""
    address, *_ = doors

    def never():
        time.sleep(5)
        yield b""

    with grpc.insecure_channel(address) as channel:
        began = time.monotonic()
        call = channel.stream_unary(f"/{SERVICE_NAME}/Explain")
        assert failed(lambda: call(never(), timeout=5)) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")
        assert time.monotonic() - began < 2


def test_a_message_that_does_not_come_is_not_waited_for_for_ever(gateway):
    with gateway(QuickEngine(), max_uploads=1) as (address, service), grpc.insecure_channel(address) as channel:
        service.timeout_seconds = 0.3
        call = channel.stream_unary(f"/{SERVICE_NAME}/Explain")

        def slow():
            time.sleep(2)
            yield b""

        held = [call.future(slow(), timeout=5) for _ in range(3)]  # more than may be read at once
        for one in held:
            assert failed(one.result) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert failed(lambda: call(iter(()), timeout=5)) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")
        service.timeout_seconds = 10
        with Client(address) as client:
            assert client.explain(b"x", model=ONE).predictions


def test_reflection_takes_a_token_and_health_does_not(doors):
    address, _, tokens = doors
    with grpc.insecure_channel(address) as channel:
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        assert failed(lambda: list(reflect(iter([asked])))) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")
        own = [("authorization", f"Bearer {tokens['own']}")]
        (answer,) = reflect(iter([asked]), metadata=own)
        assert SERVICE_NAME in [service.name for service in answer.list_services_response.service]
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        unknown = channel.unary_unary("/grpc.health.v1.Healthy/Check")
        assert failed(lambda: unknown(b""))[0] == grpc.StatusCode.UNAUTHENTICATED


def test_a_stream_asks_for_every_photo_and_ends_with_its_token(gateway, path):
    token = add_token(path, "ward-7", [ONE], False)
    with gateway(QuickEngine(), access=Access(path)) as (address, _), grpc.insecure_channel(address) as channel:
        stub = channel.stream_stream(
            f"/{SERVICE_NAME}/ExplainStream",
            request_serializer=service_pb2.ExplainStreamRequest.SerializeToString,
            response_deserializer=service_pb2.ExplainStreamResponse.FromString,
        )
        codes, sent = [], iter(((ONE, False), ("animals-cnn", False), (ONE, True)))

        def photos():
            for number, (model, withdrawn) in enumerate(sent):
                while len(codes) < number:
                    time.sleep(0.01)
                if withdrawn:
                    path.write_text("")
                request = service_pb2.ExplainRequest(model=model)
                request.input.image = b"x"
                yield service_pb2.ExplainStreamRequest(id=str(number), request=request)

        for event in stub(photos(), metadata=[("authorization", f"Bearer {token}")], timeout=20):
            codes.append(event.error.code)
        assert codes == [0, grpc.StatusCode.PERMISSION_DENIED.value[0], grpc.StatusCode.UNAUTHENTICATED.value[0]]


@pytest.fixture
def web(shipped, path):
    """REST with tokens and three models: the application, and its engine."""
    own = read_manifest(shipped)
    others = [replace(own, name=name, methods=("filter_parts",)) for name in ("parts-1", "parts-2")]
    engine = FakeEngine(EMPTY)
    service = Service(served([own, *others]), engine, Metrics())
    add_token(path, "unused", None, False)
    return Web(make_app(service, Settings(shipped.parent, access=Access(path)))), engine


def test_every_page_but_the_probes_takes_a_token(web, path):
    client, engine = web
    paths = {route.path for route in client.app.routes if isinstance(route, Route)} - {"/healthz", "/readyz"}
    token = add_token(path, "own", [ONE], False)
    for page in (*paths, "/no-such-page"):
        for verb in ("GET", "POST", "OPTIONS", "DELETE"):
            for headers in ({}, bearer("wrong"), {"authorization": token}):
                response = client.request(verb, page.replace("{model:name}", ONE), headers=headers)
                assert response.status_code == 401, (verb, page)
                assert response.headers["www-authenticate"] == "Bearer"
                assert response.json()["reason"] == "INVALID_TOKEN"
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.get("/openapi.json", headers=bearer(token)).status_code == 200
    assert not engine.calls


def test_a_scoped_token_sees_and_is_told_of_its_own_models_alone(web, path):
    client, engine = web
    own = bearer(add_token(path, "own", [ONE], False))
    assert [model["name"] for model in client.get("/v1/models", headers=own).json()["models"]] == [ONE]
    for name in ("parts-1", "no-such-model"):
        for verb, page in (("GET", ""), ("GET", "/channels"), ("POST", ":explain"), ("POST", ":predict")):
            response = client.request(verb, f"/v1/models/{name}{page}", headers=own | RAW, content=b"x")
            assert (response.status_code, response.json()["allowed"]) == (403, ONE), (verb, page)
    assert not engine.calls
    # Neither other models' names in errors, nor pages that begin with them.
    url = f"/v1/models/{ONE}:explain?method=filter_parts"
    assert "parts-1" not in client.post(url, headers=own | RAW, content=b"x").text
    assert client.get("/v1/models?page_token=parts-1", headers=own).status_code == 400
    assert "parts-1" in client.post(url, headers=bearer(add_token(path, "all", None, False)) | RAW, content=b"x").text


@pytest.mark.parametrize(("model", "status"), [(ONE, 401), ("parts-1", 403)])
def test_rest_refuses_before_it_reads_a_body(web, path, model, status):
    client, _ = web
    token = add_token(path, "own", [ONE], False) if status == 403 else "wrong"

    async def body():
        raise AssertionError("the body was asked for")
        yield b""

    response = client.post(f"/v1/models/{model}:explain", headers=bearer(token) | RAW, content=body())
    assert response.status_code == status


def test_the_metrics_take_a_token_that_is_for_them(shipped, path):
    tokens = [add_token(path, "ward-7", None, False), add_token(path, "prometheus", [], True)]
    service = Service(served([read_manifest(shipped)]), FakeEngine(EMPTY), Metrics())
    client = Web(metrics_app.make_app(service, Access(path)))
    for headers, status in (({}, 401), (bearer("wrong"), 401), (bearer(tokens[0]), 403)):
        response = client.get("/metrics", headers=headers)
        assert response.status_code == status
        assert "showcause_" not in response.text
    assert client.get("/metrics").headers["www-authenticate"] == "Bearer"
    found = client.get("/metrics", headers=bearer(tokens[1]))
    assert found.status_code == 200
    assert "showcause_in_flight_requests" in found.text
    assert found.headers["content-type"].startswith("text/plain")
    assert client.get("/").status_code == 404
    opened = Web(metrics_app.make_app(service, Access()))
    assert opened.get("/metrics").status_code == 200


@pytest.fixture
def cors(shipped, path):
    def app(*origins: str) -> Web:
        service = Service(served([read_manifest(shipped)]), FakeEngine(EMPTY), Metrics())
        return Web(make_app(service, Settings(shipped.parent, access=Access(path), cors_origins=origins)))

    return app


def test_web_pages_of_others_may_not_ask_unless_named(cors, path):
    own = bearer(add_token(path, "own", None, False))
    ward = {"origin": "https://ward.example"}
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for app, origin, allowed in (
        (cors(), ward, False),
        (cors("https://ward.example"), ward, True),
        (cors("https://ward.example"), {"origin": "https://evil.example"}, False),
    ):
        found = app.get("/v1/models", headers=own | origin)
        assert (found.headers.get("access-control-allow-origin") == origin["origin"]) == allowed
        asked = app.request("OPTIONS", f"/v1/models/{ONE}:explain", headers=origin | preflight)
        assert (
            asked.status_code == 200 and asked.headers["access-control-allow-origin"] == origin["origin"]
        ) == allowed
        assert "access-control-allow-credentials" not in asked.headers


def test_a_refusal_can_be_read_by_a_page_that_may_ask(cors, path):
    add_token(path, "own", None, False)
    response: httpx.Response = cors("https://ward.example").get(
        "/v1/models", headers={"origin": "https://ward.example"}
    )
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "https://ward.example"
