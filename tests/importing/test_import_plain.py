"""Checkpoints of torchvision's networks, and of an operator's own, become models too."""

import itertools
from functools import partial

import pytest
import torch

from showcause import nets
from showcause.manifest import read_manifest
from showcause.nets.ordinary import OrdinaryNet
from showcause.nets.plain import PlainResNet
from tests.checkpoints import as_options, labels_file, saved
from tests.importing.outcome import assert_same_network, refused
from tests.small_models import lively_plain

POST_HOC = (
    "grad_cam", "gradient", "input_x_gradient", "guided_backprop", "guided_grad_cam",
    "chip", "refined_chip", "guided_chip",
)  # fmt: skip
# Options that narrow torchvision's networks and leave their depth as it is.
NARROW = {
    "plain_alexnet": {"width": 4, "hidden": 16},
    "plain_vgg16": {"width": 4, "hidden": 16},
    "plain_resnet18": {"width": 4},
    "plain_resnet34": {"width": 4},
    "plain_resnet50": {"width": 4},
}


@pytest.mark.parametrize("network", NARROW)
def test_every_network(run, store, tmp_path, network):
    options = NARROW[network]
    net = lively_plain(network, 5, **options)
    code, output = run(saved(net.state_dict(), tmp_path), *as_options(options), "--input", "64", network=network)
    assert code == 0, output
    assert "as the file name tells" in output
    assert "self-test: the gradient by the input is finite" in output
    assert_same_network(store / "net", net)
    manifest = read_manifest(store / "net")
    assert manifest.probability == "softmax"
    assert manifest.methods == (("cam", *POST_HOC) if "resnet" in network else POST_HOC)
    assert "post" not in manifest.card
    assert "made after the fact" in manifest.card
    assert "B, temperature" not in manifest.card


def test_resnet18_in_full_as_torchvision_preprocesses(run, store, tmp_path):
    net = lively_plain("plain_resnet18", 5)
    state = {key: value for key, value in net.state_dict().items() if "batches" not in key}  # as from before torch 0.4
    state = {key: torch.nn.Parameter(value) for key, value in state.items()}  # as torchvision's older files hold them
    code, output = run(saved(state, tmp_path, "resnet18"), "--float16", network="plain_resnet18")
    assert code == 0, output
    assert "20 num_batches_tracked are missing and set to 0" in output
    manifest = read_manifest(store / "net")
    assert (manifest.input.width, manifest.input.preprocessing, manifest.input.crop) == (224, "center_crop", 0.875)
    assert manifest.weights_path.stat().st_size < 23e6


def test_norms_with_centring_are_what_ordinary_networks_have(run, tmp_path):
    net = lively_plain("plain_resnet18", 5, width=4)
    assert net.state_dict()["bn1.running_mean"].any()
    code, output = run(saved(net.state_dict(), tmp_path), "--option", "width=4", network="plain_resnet18")
    assert (code, "running_mean" in output) == (0, False), output


def test_a_wrong_network_or_number_of_classes_is_named(run, store, tmp_path):
    weights = saved(lively_plain("plain_resnet34", 5, width=4).state_dict(), tmp_path)
    flags = ("--option", "width=4", "--input", "64")
    refused(run(weights, *flags, network="plain_resnet18"), store, "these keys fit plain_resnet34")
    refused(run(weights, *flags, network="bcos_resnet34"), store, "these keys fit plain_resnet34")
    labels = labels_file(tmp_path, 6)
    outcome = run(weights, *flags, network="plain_resnet34", labels=labels)
    refused(outcome, store, f"the head has 5 outputs and {labels} has 6 labels")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fc.weight", torch.nan, "fc.weight holds NaN or infinity"),
        ("fc.weight", 0.0, "the classes are equal"),
        ("bn1.running_var", -1.0, "bn1.running_var has a variance below 0"),
    ],
)
def test_a_network_that_fails_the_self_test_leaves_nothing(run, store, tmp_path, key, value, message):
    state = lively_plain("plain_resnet18", 5, width=4).state_dict()
    state[key][:] = value
    if value == 0.0:
        state["fc.bias"][:] = 0
    flags = ("--option", "width=4", "--input", "64")
    refused(run(saved(state, tmp_path), *flags, network="plain_resnet18"), store, "the self-test failed: " + message)


def test_a_network_that_is_dead_for_gradients_is_refused(run, store, tmp_path):
    """Its classes differ by their biases alone."""
    state = lively_plain("plain_resnet18", 5, width=4).state_dict()
    state["fc.weight"][:] = 0
    flags = ("--option", "width=4", "--input", "64")
    refused(run(saved(state, tmp_path), *flags, network="plain_resnet18"), store, "the gradient by the input is zero")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda forward, x, calls: forward(x) * calls, "a second pass over the same input differs"),
        (lambda forward, x, calls: forward(x.detach()), "no gradient reaches the input"),
        (lambda forward, x, calls: forward(x) * (1 + x.requires_grad), "a prediction alone differs"),
        (lambda forward, x, calls: forward(x) * len(x), "two pictures in one batch and each alone differ"),
    ],
)
def test_a_network_that_is_not_what_it_promises_is_refused(run, store, tmp_path, monkeypatch, wrong, message):
    weights = saved(lively_plain("plain_resnet18", 5, width=4).state_dict(), tmp_path)
    forward, calls = PlainResNet.forward, itertools.count(1)
    monkeypatch.setattr(PlainResNet, "forward", lambda net, x: wrong(partial(forward, net), x, next(calls)))
    refused(run(weights, "--option", "width=4", "--input", "64", network="plain_resnet18"), store, message)


SOURCE = """
from torch import nn

def small(classes, width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
    )
"""


def test_an_operators_own_network(run, store, tmp_path, monkeypatch):
    (tmp_path / "imported_nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    network = "python:imported_nets:small"
    torch.manual_seed(0)
    net = nets.build(network, 5, {"width": 6, "mean": [0, 0, 0]}).eval()
    flags = ("--option", "width=6", "--option", "mean=[0, 0, 0]", "--input", "48")
    weights = saved({"model." + key: value for key, value in net.state_dict().items()}, tmp_path)
    code, output = run(weights, *flags, "--probability", "sigmoid", network=network)
    assert code == 0, output
    assert_same_network(store / "net", net)
    manifest = read_manifest(store / "net")
    assert (manifest.network, manifest.probability) == (network, "sigmoid")
    assert manifest.methods == ("cam", *POST_HOC)
    assert manifest.network_options == {"width": 6, "mean": [0, 0, 0]}
    refused(run(weights, *flags, network=network + "er", name="b"), store / "b", "has no attribute 'smaller'")
    outcome = run(weights, "--input", "48", network=network, name="b")
    refused(outcome, store / "b", "0.weight: (6, 3, 5, 5) instead of (4, 3, 5, 5)")
    outcome = run(weights, *flags, network=network, name="b", labels=labels_file(tmp_path, 4))
    refused(outcome, store / "b", "the head has 5 outputs")
    assert isinstance(nets.build(network, 5, {}), OrdinaryNet)
