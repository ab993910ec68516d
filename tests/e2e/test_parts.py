"""Two kinds of network in one service: filter parts and linear maps, mixed on one stream, and what cannot be asked."""

import base64

import httpx
import pytest
from google.protobuf import json_format

from showcause import Client, Difference, Neuron, cli
from showcause.client.calls import explain_request
from showcause.errors import FailedPrecondition, InvalidArgument
from showcause.manifest import sha256_of
from showcause.model import load
from showcause.v1 import method_pb2, service_pb2
from showcause.v1.service_pb2_grpc import ExplanationServiceStub
from showcause.wire import read_event, read_reply
from showcause.worker import Call, explain
from tests.sameness import assert_same, opened
from tests.serving import start
from tests.small_models import part_name, write_model, write_part_names, write_parts_model

grpc = pytest.importorskip("grpc")
RAW = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small B-cos network and a small interpretable one, loaded here as well."""
    store = tmp_path_factory.mktemp("store")
    write_model(store / "small-bcos", width=4)
    folder = write_parts_model(store / "small-parts")
    write_part_names(folder, [part_name(number, "head") for number in range(0, 24, 2)])
    return {name: load(store / name) for name in ("small-bcos", "small-parts")}


@pytest.fixture(scope="module")
def both(models):
    running = start("--model-store", str(models["small-bcos"].manifest.folder.parent), "--workers", "1")
    if not running.grpc:
        pytest.fail(f"the service did not start:\n{running.output}")
    yield running
    assert running.stop() == 0, running.output


@pytest.fixture(scope="module")
def asking(both):
    with Client(both.grpc) as client:
        yield client


def parts(**parameters) -> method_pb2.Method:
    return method_pb2.Method(filter_parts=method_pb2.FilterParts(**parameters))


WISHES = [
    {"model": "small-parts", "pictures": ["overlay", "tiles"]},
    {"model": "small-bcos", "pictures": ["overlay", "color"]},
    {"model": "small-parts", "methods": parts(part_count=24, include_negative=True), "target": ["north", "south"]},
    {"model": "small-bcos", "target": ["west", Difference("east", "west")], "weights": True},
    {"model": "small-parts", "top_k": 4, "region": (20, 10, 300, 200), "map_dtype": "float16"},
    {"model": "small-bcos", "methods": "linear_map", "top_k": 2},
    {"model": "small-parts", "methods": "filter_parts", "target": Difference("east")},
]
BAD = {
    "unlearned": ({"model": "small-parts", "target": "west"}, FailedPrecondition, "targets[0]", "north, east, south"),
    "neuron": ({"model": "small-parts", "target": Neuron("parts")}, FailedPrecondition, "targets[0].neuron", "top_k"),
    "no parts": (
        {"model": "small-parts", "methods": parts(part_count=0)},
        InvalidArgument, "methods[0].filter_parts.part_count", "1 to 24",
    ),
    "25 of 24 parts": (
        {"model": "small-parts", "methods": parts(part_count=25)},
        InvalidArgument, "methods[0].filter_parts.part_count", "1 to 24",
    ),
    "parts of a B-cos network": (
        {"model": "small-bcos", "methods": "filter_parts"},
        FailedPrecondition, "methods[0]", "linear_map, or filter_parts of small-parts",
    ),
    "the linear map of a network with parts": (
        {"model": "small-parts", "methods": "linear_map"},
        FailedPrecondition, "methods[0]", "filter_parts, or linear_map of small-bcos",
    ),
    "tiles of a linear map": (
        {"model": "small-bcos", "pictures": ["tiles"]}, FailedPrecondition, "output.pictures", "overlay, color"
    ),
    "colours of parts": (
        {"model": "small-parts", "pictures": ["color"]}, FailedPrecondition, "output.pictures", "overlay, tiles"
    ),
}  # fmt: skip


def check(error, kind, field: str, allowed: str) -> None:
    assert isinstance(error, kind)
    assert error.field == field
    assert allowed in error.allowed


def test_both_kinds_mixed_on_one_stream_are_answered_rightly(both, models, photos):
    """Every photo with every wish, and the bad requests between them; each its own model's answer."""
    asked = {f"{number} {n}": (photo, wish) for number, photo in enumerate(photos) for n, wish in enumerate(WISHES)}
    bad = {name: (photos[0], wish) for name, (wish, *_) in BAD.items()}
    everything = list((asked | bad).items())
    everything = [each for lane in (0, 1, 2) for each in everything[lane::3]]
    requests = (
        service_pb2.ExplainStreamRequest(id=name, request=explain_request(photo, **wish))
        for name, (photo, wish) in everything
    )
    with grpc.insecure_channel(both.grpc, options=[("grpc.max_receive_message_length", -1)]) as channel:
        events = [read_event(event) for event in ExplanationServiceStub(channel).ExplainStream(requests, timeout=120)]
    found = {event.id: event for event in events}
    assert len(events) == len(found) == len(everything)
    for name, (photo, wish) in asked.items():
        call = Call("explain", explain_request(photo, **wish).SerializeToString())
        assert found[name].error is None, found[name].error
        assert found[name].reply.receipt["model"] == wish["model"]
        assert_same(found[name].reply, opened(explain(models[wish["model"]], [call])[0]))
        for explanation in found[name].reply.explanations:
            assert bool(explanation.parts) == (wish["model"] == "small-parts")
            assert explanation.residual.relative < 1e-3
    for name, (_, kind, field, allowed) in BAD.items():
        check(found[name].error, kind, field, allowed)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_asked_over_grpc_and_rest(both, asking, photo, name):
    wish, kind, field, allowed = BAD[name]
    with pytest.raises(kind) as caught:
        asking.explain(photo, **wish)
    check(caught.value, kind, field, allowed)
    body = json_format.MessageToDict(explain_request(photo, **wish), preserving_proto_field_name=True)
    model = body.pop("model")
    problem = httpx.post(f"{both.rest}/v1/models/{model}:explain", json=body, timeout=60)
    assert problem.status_code == 400
    assert problem.json()["title"] == caught.value.code_name
    assert problem.json()["field"] == field
    assert allowed in problem.json()["allowed"]


def test_rest_tells_the_parts_and_draws_them(both, asking, models, photo):
    url = f"{both.rest}/v1/models/small-parts:explain"
    query = "?target=north&filter_parts.part_count=3&filter_parts.include_negative=true&picture=tiles&output.map=true"
    found = httpx.post(url + query, content=photo, headers=RAW, timeout=60).json()
    wanted = asking.explain(
        photo, model="small-parts", target="north", methods=parts(part_count=3, include_negative=True),
        pictures=["tiles"],
    )  # fmt: skip
    assert_same(read_reply(json_format.ParseDict(found, service_pb2.ExplainResponse())), wanted)
    (explanation,) = found["explanations"]
    assert [part["filter"] for part in explanation["parts"]] == [part.filter for part in wanted.explanation.parts]
    assert set(explanation["parts"][0]) == {
        "filter", "layer", "category", "name", "name_agreement", "name_chance", "center", "box", "outlines",
        "activation", "contribution", "share",
    }  # fmt: skip
    assert base64.b64decode(explanation["pictures"][0]["png"]).startswith(b"\x89PNG")
    assert explanation["pictures"][0]["kind"] == "PICTURE_KIND_TILES"
    folder = models["small-parts"].manifest.folder
    assert found["receipt"]["parts_sha256"] == sha256_of(folder / "parts.json")
    png = httpx.post(url, content=photo, headers=RAW | {"accept": "image/png"}, timeout=60)
    assert png.content.startswith(b"\x89PNG")


def test_the_command_line_lists_the_parts(both, photo, tmp_path, capsys):
    (tmp_path / "cat.jpg").write_bytes(photo)
    flags = ["--address", both.grpc, "--out", str(tmp_path / "out")]
    assert cli.main(["explain", str(tmp_path / "cat.jpg"), *flags, "--model", "small-parts"]) == 0
    shown = capsys.readouterr().out
    assert "parts for " in shown
    assert "head" in shown
    assert "%" in shown
    kinds = {path.name.split(".")[-2] for path in (tmp_path / "out").glob("*.png")}
    assert kinds == {"overlay", "tiles"}
    assert cli.main(["explain", str(tmp_path / "cat.jpg"), *flags, "--model", "small-bcos"]) == 0
    kinds = {path.name.split(".")[-2] for path in (tmp_path / "out").glob("*linear_map*.png")}
    assert kinds == {"overlay", "color"}
    capsys.readouterr()
    assert cli.main(["explain", str(tmp_path / "cat.jpg"), *flags]) == 2
    assert "allowed: small-bcos, small-parts" in capsys.readouterr().err
