"""The ordinary model that is shipped: small, and explained by every method that its folder names."""

import pytest

from showcause.client.calls import explain_request
from showcause.model import load
from showcause.v1 import service_pb2
from showcause.wire import read_reply, unseal
from showcause.worker import Call, explain


@pytest.fixture(scope="module")
def cnn(shipped):
    return load(shipped.parent / "animals-cnn")


def test_it_is_small_and_pools_a_grid_of_13(cnn):
    assert cnn.manifest.weights_path.stat().st_size < 8e6
    assert cnn.layers["features.12"] == (240, 13, 13)
    assert cnn.pooled is not None
    assert cnn.manifest.card.startswith("# animals-cnn 1.0")


def test_chelsea_is_a_cat_by_every_method(cnn, photo):
    methods = [name for name in cnn.manifest.methods if "chip" not in name]
    request = explain_request(photo, methods=methods, prediction_count=1)
    (envelope,) = explain(cnn, [Call("explain", request.SerializeToString())])
    reply = read_reply(service_pb2.ExplainResponse.FromString(unseal(envelope)))
    assert reply.predictions[0].label == "cat"
    assert reply.predictions[0].probability > 0.5
    found = {explanation.method: explanation for explanation in reply.explanations}
    assert list(found) == methods
    assert all(explanation.kind == "post_hoc" and explanation.map.max() > 0 for explanation in reply.explanations)
    assert found["cam"].residual.relative < 1e-3
