"""The shipped ordinary network, served: post-hoc methods, boxes, agreement, test scores, and what CHIP distilled."""

import io
import json
import shutil
import subprocess

import httpx
import numpy as np
import pytest
from PIL import Image

from showcause import Client, Difference, cli
from showcause.errors import FailedPrecondition, InvalidArgument
from showcause.model import load
from showcause.reply import METHOD_KINDS
from showcause.v1 import method_pb2
from showcause.worker import Call, explain
from tests.e2e.test_rest import CHANNELS
from tests.sameness import assert_same, opened
from tests.serving import start

RAW = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def cnn(shipped):
    return load(shipped.parent / "animals-cnn")


@pytest.fixture(scope="module")
def running(shipped):
    running = start("animals-cnn", "--model-store", str(shipped.parent))
    if not running.grpc:
        pytest.fail(f"the service did not start:\n{running.output}")
    yield running
    assert running.stop() == 0, running.output


@pytest.fixture(scope="module")
def asking(running):
    with Client(running.grpc) as client:
        yield client


def test_all_methods_in_one_call_are_the_workers_own(asking, cnn, photo):
    from showcause.client.calls import explain_request

    wishes = {"methods": cnn.manifest.methods, "target": ["cat", Difference("cat", "dog")], "box": True}
    found = asking.explain(photo, **wishes)
    assert_same(found, opened(explain(cnn, [Call("explain", explain_request(photo, **wishes).SerializeToString())])[0]))
    assert {one.kind for one in found.explanations} == {"post_hoc"}
    assert all(METHOD_KINDS[one.method] == "post_hoc" for one in found.explanations)
    for one in found.explanations:
        assert {score.measure for score in one.test_scores} == {"localization_accuracy", "grid_pointing_2x2"}
        assert one.box_threshold == cnn.map_scores[one.method].threshold or one.box is None
    count = len(cnn.manifest.methods)
    assert len(found.agreements) == 2 * count * (count - 1) // 2
    assert found.receipt["chip_sha256"] == cnn.manifest.chip_sha256 != ""
    assert found.receipt["maps_sha256"] == cnn.manifest.maps_sha256 != ""


def test_over_rest_the_same(running, asking, photo):
    query = "method=grad_cam&method=chip&target=cat&output.box=true&output.box.threshold=0.3&output.map=true"
    answer = httpx.post(f"{running.rest}/v1/models/animals-cnn:explain?{query}", content=photo, headers=RAW)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    same = asking.explain(photo, methods=["grad_cam", "chip"], target="cat", box=0.3)
    for sent, wanted in zip(body["explanations"], same.explanations, strict=True):
        assert sent["method"] == wanted.method
        assert sent["box_threshold"] == 0.3
        for edge in ("x_min", "y_min", "x_max", "y_max"):
            assert sent["box"][edge] == pytest.approx(getattr(wanted.box, edge), abs=0.5)
    assert body["agreements"][0]["rank_correlation"] == pytest.approx(same.agreements[0].rank_correlation, abs=1e-3)
    overlay = httpx.post(
        f"{running.rest}/v1/models/animals-cnn:explain?method=gradient",
        content=photo, headers=RAW | {"accept": "image/png"},
    )  # fmt: skip
    assert Image.open(io.BytesIO(overlay.content)).size == (451, 300)


def test_the_command_line_shows_boxes_scores_and_agreement(running, photo, tmp_path, capsys):
    (tmp_path / "cat.jpg").write_bytes(photo)
    flags = ["--method", "grad_cam", "--method", "cam", "--layer", "features.11", "--box", "--map"]
    out = tmp_path / "out"
    code = cli.main(["explain", str(tmp_path / "cat.jpg"), "--address", running.grpc, "--out", str(out), *flags])
    said = " ".join(capsys.readouterr().out.split())
    assert code == 0, said
    assert "rank correlation of grad_cam and cam +" in said
    assert "control" in said
    assert np.load(out / "cat.cat-grad_cam.map.npy").shape == (13, 13)


def test_what_was_distilled_is_told_by_every_way(running, asking, cnn):
    found = asking.channels("animals-cnn", classes=["zebra", "tiger"], count=5)
    layer = cnn.chip[found.layer]
    weights = layer.of(cnn.manifest.labels.index("zebra"))
    zebra = found.classes[0]
    assert [one.channel for one in zebra.channels] == np.argsort(-weights, kind="stable")[:5].tolist()
    assert [one.weight for one in zebra.channels] == pytest.approx(sorted(weights, reverse=True)[:5])
    assert found.overlap[0] == 1
    url = f"{running.rest}/v1/models/animals-cnn/channels?label=zebra&label=tiger&channel_count=5"
    body = httpx.get(url).json()
    assert [one["channel"] for one in body["classes"][0]["channels"]] == [one.channel for one in zebra.channels]
    if shutil.which("curl"):  # the sample in the service's own description
        command = CHANNELS.replace("http://localhost:8080", running.rest).replace("curl ", "curl -sSf ")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["classes"][0]["class_target"]["label"] == "cat"


def test_layers_that_were_not_distilled_say_what_would_do_it(asking, photo):
    with pytest.raises(FailedPrecondition) as caught:
        asking.explain(photo, methods=method_pb2.Method(chip=method_pb2.Chip(layer="features.6")))
    assert caught.value.field == "methods[0].chip.layer"
    assert "showcause train chip --model animals-cnn --layers features.6" in caught.value.allowed
    with pytest.raises(InvalidArgument) as caught:
        asking.explain(photo, methods=method_pb2.Method(chip=method_pb2.Chip(layer="feature.6")))
    assert "features.6" in caught.value.allowed
