"""GetChannelImportance: over gRPC with both clients, over REST, and from the command line; one answer in all."""

import asyncio
import json

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from PIL import Image

from showcause import AsyncClient, Client, cli
from showcause.channels import LayerWeights, channel_importance, read_distilled, write_distilled
from showcause.client.calls import channels_request
from showcause.errors import FailedPrecondition, InvalidArgument, NotFound
from showcause.gateway.metrics import Metrics
from showcause.gateway.rest import make_app
from showcause.gateway.service import Service
from showcause.manifest import ManifestError, read_manifest
from showcause.reply import ClassTarget
from showcause.v1 import service_pb2
from tests.gateway.conftest import QuickEngine
from tests.gateway.served import served
from tests.gateway.test_openapi import validator
from tests.gateway.test_service import FakeEngine
from tests.small_models import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("store") / "small")
    values = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    write_distilled(
        read_manifest(folder), [LayerWeights("conv1", (0, 2), values[:2, :9]), LayerWeights("fc", (3, 1, 0), values)]
    )
    return folder


@pytest.fixture(scope="module")
def wanted(folder):
    """What the folder says, by the arguments of ``Client.channels``."""
    manifest = read_manifest(folder)

    def ask(model="", **wishes):
        return channel_importance(channels_request(model, **wishes), manifest, read_distilled(manifest))

    return ask


WISHES = [
    {},
    {"layer": "conv1", "count": 3},
    {"classes": "east"},
    {"classes": 3, "count": 1},
    {"classes": ["west", 0, ClassTarget(1, "east")]},
]


def test_both_clients_get_what_was_distilled(gateway, folder, wanted):
    with gateway(QuickEngine(), folder) as (address, _):
        with Client(address) as client:
            found = [client.channels("small", **wishes) for wishes in WISHES]

        async def also():
            async with AsyncClient(address) as client:
                return [await client.channels(**wishes) for wishes in WISHES]

        assert found == asyncio.run(also()) == [wanted(**wishes) for wishes in WISHES]
    assert len({one.SerializeToString() for one in found}) == len(WISHES)
    assert found[0].chip_sha256 == read_manifest(folder).chip_sha256 != ""


def test_errors_reach_the_client_with_their_field(gateway, folder):
    with gateway(QuickEngine(), folder) as (address, _), Client(address) as client:
        with pytest.raises(FailedPrecondition) as caught:
            client.channels(layer="layer1")
        assert caught.value.field == "layer"
        assert "showcause train chip --model small --layers layer1 --data DIR" in caught.value.allowed
        with pytest.raises(FailedPrecondition) as caught:
            client.channels(layer="conv1", classes=["north", "west"])
        assert caught.value.field == "classes[1].label"
        with pytest.raises(NotFound, match=r"model: no such model"):
            client.channels("other")
        with pytest.raises(NotFound, match="version"):
            client.channels(version="7")
        with pytest.raises(InvalidArgument, match="channel_count"):
            client.channels(count=-1)


def test_a_model_without_the_file_says_the_command(gateway):
    with (
        gateway(QuickEngine()) as (address, _),
        Client(address) as client,
        pytest.raises(FailedPrecondition) as caught,
    ):
        client.channels()
    assert "showcause train chip --model animals-bcos --layers LAYER --data DIR" in caught.value.allowed


def test_a_file_that_is_replaced_counts_from_the_next_start_on(folder, tmp_path):
    copy = write_model(tmp_path / "small")
    first = LayerWeights("conv1", (0,), np.ones((1, 4), np.float32))
    write_distilled(read_manifest(copy), [first])
    service = Service(served([read_manifest(copy)]), FakeEngine(b""), Metrics())
    before = service.get_channel_importance(b"")
    (copy / "chip.safetensors").write_bytes(b"something else")
    assert service.get_channel_importance(b"") == before
    with pytest.raises(ManifestError, match=r"chip\.safetensors"):
        Service(served([read_manifest(copy)]), FakeEngine(b""), Metrics())


def get(folder, query: str) -> httpx.Response:
    app = make_app(Service(served([read_manifest(folder)]), FakeEngine(b""), Metrics()))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(f"/v1/models/{folder.name}/channels{query}")

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("query", "wishes"),
    [
        ("", {}),
        ("?layer=conv1&channel_count=3", {"layer": "conv1", "count": 3}),
        ("?label=east", {"classes": ["east"]}),
        ("?class=3&label=north&class=1", {"classes": [3, "north", 1]}),
        ("?version=1.0", {}),
    ],
)
def test_rest_says_the_same(folder, wanted, query, wishes):
    response = get(folder, query)
    assert response.status_code == 200
    assert json_format.ParseDict(response.json(), service_pb2.GetChannelImportanceResponse()) == wanted(**wishes)
    validator("reply.GetChannelImportanceResponse").validate(response.json())


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("?layer=layer1", 400, "layer"),
        ("?label=nord", 404, "classes[0].label"),
        ("?class=4", 400, "classes[0].class_index"),
        ("?class=north", 400, "class"),
        ("?classes=1", 400, "classes"),
        ("?channel_count=5000", 400, "channel_count"),
        ("?layer=a&layer=b", 400, "layer"),
        ("?version=7", 404, "version"),
    ],
)
def test_rest_names_what_is_wrong(folder, query, status, field):
    response = get(folder, query)
    assert (response.status_code, response.json()["field"]) == (status, field)


def test_the_command_shows_draws_and_prints_them(gateway, folder, wanted, capsys, tmp_path):
    def run(*arguments: str):
        code = cli.main(["models", "channels", "small", *arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    store = ("--model-store", str(folder.parent))
    code, table, _ = run(*store)
    assert code == 0
    for one in wanted().classes:
        strongest = one.channels[0]
        assert one.class_target.label in table
        assert f"{strongest.channel} ({strongest.weight:.3g})" in table
    assert "distilled too: conv1" in table
    with gateway(QuickEngine(), folder) as (address, _):
        assert run("--address", address)[1] == table
    picture = tmp_path / "new" / "channels.png"
    code, output, _ = run(*store, "--layer", "conv1", "--label", "south", "--label", "north", "--count", "2", "--json",
                          "--picture", str(picture))  # fmt: skip
    found = json_format.ParseDict(json.loads(output), service_pb2.GetChannelImportanceResponse())
    assert found == wanted(layer="conv1", classes=["south", "north"], count=2)
    with Image.open(picture) as image:
        assert image.format == "PNG"
    code, _, error = run(*store, "--layer", "nowhere")
    assert code == 1
    assert "FAILED_PRECONDITION" in error
    assert "showcause train chip --model small --layers nowhere" in error
