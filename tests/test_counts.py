"""What explanations cost, as counts and not as times: passes through the network, convolutions, copies.

``benchmarks/`` has the times. Here it is kept that no convolution, no graph and no copy comes in that was not there.
"""

from dataclasses import replace

import pytest
import torch

from showcause.client.calls import explain_request, predict_request
from showcause.model import load
from showcause.nets.base import Tape
from showcause.reply import Difference
from showcause.worker import Call, explain
from tests.counting import Counting
from tests.sameness import opened

BATCH = 3
FORWARD_ONLY = [
    ("animals-cnn", ["cam"]),
    ("animals-cnn", ["grad_cam"]),
    ("animals-cnn", ["chip"]),
    ("animals-cnn", ["refined_chip"]),
    ("animals-cnn", ["cam", "grad_cam", "chip", "refined_chip"]),
    ("animals-parts", ["filter_parts"]),
    ("animals-parts", ["filter_parts", "cam", "grad_cam"]),
]


@pytest.fixture(scope="module")
def models(shipped):
    return {name: load(shipped.parent / name) for name in ("animals-cnn", "animals-parts", "animals-bcos")}


class Passes:
    """The network's own, counted."""

    def __init__(self, net):
        self.net, self.sizes = net, []

    def run(self, rgb, tape=Tape()):
        self.sizes.append(len(rgb))
        return self.net.run(rgb, tape)


def counted(model, calls):
    """What a batch took."""
    passes = Passes(model.net)
    with Counting() as counting:
        envelopes = explain(replace(model, passes=passes), calls)
    assert all(opened(envelope).predictions for envelope in envelopes)
    return counting, passes.sizes


def explained(photo, **wishes) -> Call:
    return Call("explain", explain_request(photo, **wishes).SerializeToString())


@pytest.mark.parametrize(("name", "methods"), FORWARD_ONLY)
def test_what_needs_no_gradient_takes_one_pass_without_a_graph(models, photo, name, methods):
    """As a prediction does; with several targets, methods and predictions in one batch, too."""
    model, predict = models[name], Call("predict", predict_request(photo).SerializeToString())
    plain, _ = counted(model, [predict] * BATCH)
    assert plain.convolutions >= 6
    calls = [explained(photo, methods=methods), explained(photo, methods=methods, top_k=1, pictures=["overlay"])]
    found, sizes = counted(model, [*calls, predict])
    assert sum(sizes) == BATCH
    assert found.convolutions == plain.convolutions * len(sizes)
    assert not found.backwards
    several, sizes = counted(model, [explained(photo, methods=methods, target=[0, 1, Difference(2, 3)])] * BATCH)
    assert sizes == [BATCH]
    assert several.convolutions == plain.convolutions
    assert not several.backwards


def test_a_method_that_needs_a_gradient_takes_one_pass_there_and_one_back(models, photo):
    found, sizes = counted(models["animals-cnn"], [explained(photo, methods=["gradient", "input_x_gradient"])] * BATCH)
    assert sizes == [BATCH]
    assert found.counts["convolution_backward"] == found.convolutions, "both methods share it"


def test_a_linear_map_takes_one_pass_there_and_one_back(models, photo):
    model = models["animals-bcos"]
    plain, _ = counted(model, [Call("predict", predict_request(photo).SerializeToString())] * BATCH)
    for targets in (1, 3):
        found, sizes = counted(model, [explained(photo, target=list(range(targets)))] * BATCH)
        assert sizes == [BATCH]
        assert found.convolutions == plain.convolutions + targets * (plain.convolutions - 1), "the head's is a product"
        assert not found.backwards


def test_a_b_cos_pass_copies_nothing(models):
    net = models["animals-bcos"].net
    rgb = torch.rand(BATCH, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    with Counting() as there:
        forward = net.run(rgb, Tape(start="input", hold=True))
    signs = [{0: 1.0}] * BATCH
    with Counting() as back:
        forward.pull(range(BATCH), signs)
    assert (there.copies, back.copies) == (0, 0)
