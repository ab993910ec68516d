"""The interpretable model that is shipped: small, complete, and named by what it found."""

from collections import Counter
from pathlib import Path

import pytest

from showcause.client.calls import explain_request
from showcause.model import Model, load
from showcause.v1 import service_pb2
from showcause.wire import read_reply, unseal
from showcause.worker import Call, explain


@pytest.fixture(scope="module")
def parts_model(shipped: Path) -> Model:
    return load(shipped.parent / "animals-parts")


def test_it_is_small_and_its_filters_are_shared_out_evenly(parts_model):
    assert parts_model.manifest.weights_path.stat().st_size < 8e6
    counts = Counter(parts_model.net.parts.category.tolist())
    assert counts == dict.fromkeys(range(30), 8)
    assert len(parts_model.part_names) > 100


def test_names_stand_on_evidence(parts_model):
    """A name needs half of the training pictures; on test they hold for most."""
    named = parts_model.part_names.values()
    assert all(name.agreement >= 0.5 for name in named)
    assert sum(name.test_agreement for name in named) / len(named) > 0.7
    assert sum(name.test_chance for name in named) / len(named) < 0.5


def test_a_cat_is_a_cat_because_of_its_head(parts_model, photo):
    request = explain_request(photo, methods="filter_parts")
    (envelope,) = explain(parts_model, [Call("explain", request.SerializeToString())])
    reply = read_reply(service_pb2.ExplainResponse.FromString(unseal(envelope)))
    assert reply.predictions[0].label == "cat"
    assert reply.explanation.kind == "inherent"
    assert reply.explanation.residual.relative < 1e-3
    assert reply.receipt["parts_sha256"] == parts_model.manifest.parts_sha256
    strongest = reply.explanation.parts[0]
    assert (strongest.category, strongest.name) == ("cat", "head")
    assert strongest.name_agreement > 0.5
    assert sum(part.contribution for part in reply.explanation.parts) < reply.predictions[0].logit
