"""The ordinary networks are torchvision's: keys, shapes and answers; and what the pooled head is."""

import hashlib
import json

import numpy as np
import pytest
import torch

from showcause.nets import build, outline
from showcause.nets.base import Tape, layer_shapes
from showcause.nets.ordinary import MEAN, STD
from tests import golden_files

KEYS = golden_files.facts("torchvision_keys")
LOGITS = golden_files.facts("torchvision_logits")


@pytest.mark.parametrize("network", sorted(set(KEYS) - {"about"}))
def test_keys_shapes_and_order_are_torchvisions(network):
    listed = [[key, list(value.shape)] for key, value in outline(network, 1000, {}).state_dict().items()]
    assert [len(listed), hashlib.sha256(json.dumps(listed).encode()).hexdigest()] == KEYS[network]


def drawn(key: str, shape: torch.Size) -> torch.Tensor:
    """Of the scale that keeps a signal alive; variances and the norms' weights near 1."""
    if not shape:
        return torch.zeros((), dtype=torch.long)
    values = golden_files.recipe(key, list(shape))
    if len(shape) > 1:
        values *= np.sqrt(2 / np.prod(shape[1:]))
    else:
        values *= 0.1
        values += key.endswith(("running_var", "weight"))
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("network", sorted(set(LOGITS) - {"about"}))
def test_answers_are_torchvisions(network):
    # The fully connected layers of VGG-16 are too many to be drawn here: it is tested up to its features.
    net = build(network, 10, {"hidden": 8} if network == "plain_vgg16" else {}).eval()
    net.load_state_dict({key: drawn(key, value.shape) for key, value in net.state_dict().items()})
    x = torch.from_numpy(golden_files.recipe("input", [2, 3, 96, 80]).astype(np.float32))
    rgb = x * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    forward = net.run(rgb, Tape(frozenset(["features"])))
    found = forward.logits if network != "plain_vgg16" else forward.activations["features"].mean((2, 3))[:, :10]
    expected = torch.tensor(LOGITS[network])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("network", "layer", "features"), [("plain_alexnet", 10, (13, 13)), ("plain_vgg16", 28, (14, 14))]
)
@pytest.mark.parametrize("added", [0, 5])
def test_a_pooled_head_is_the_mean_over_places_and_one_linear_layer(network, layer, features, added):
    """Zhou et al. (CVPR 2016): without the last max pooling, with a further 3x3 convolution or not."""
    torch.manual_seed(0)
    net = build(network, 4, {"head": "pooled", "added": added, "width": 4}).eval()
    keys = [key for key in net.state_dict() if not key.startswith("features.")]
    assert keys == ["classifier.weight", "classifier.bias"]
    last = layer + 2 if added else layer
    assert max(int(key.split(".")[1]) for key in net.state_dict() if key.startswith("features.")) == last
    forward = net.run(torch.rand(2, 3, 224, 224), Tape(frozenset([f"features.{last + 1}"])))
    maps = forward.activations[f"features.{last + 1}"]
    assert maps.shape[2:] == features
    assert maps.shape[1] == (added or net.state_dict()[f"features.{last}.weight"].shape[0])
    assert (maps >= 0).all()
    state = net.state_dict()
    expected = torch.einsum("nkhw,ck->nc", maps, state["classifier.weight"]) / maps[0, 0].numel()
    torch.testing.assert_close(forward.logits, expected + state["classifier.bias"], rtol=1e-5, atol=1e-6)


def test_every_relu_of_a_residual_block_can_be_read():
    layers = layer_shapes(build("plain_resnet50", 4, {"width": 4}).eval(), torch.rand(1, 3, 64, 64))
    order = [name.removeprefix("layer2.0.") for name in layers if name.startswith("layer2.0.") and "downs" not in name]
    assert order == ["conv1", "bn1", "relu1", "conv2", "bn2", "relu2", "conv3", "bn3", "relu3"]
    assert layers["layer2.0.conv1"] == (8, 16, 16), "the stride is on the 3x3"
    assert layers["layer2.0.conv2"] == (8, 8, 8)
    assert layers["layer4"] == (128, 2, 2)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("plain_alexnet", {"head": "linear"}, "head is 'linear'; allowed: full, pooled"),
        ("plain_vgg16", {"added": 3}, "added is 3; allowed: 0, or with head = 'pooled' a number of filters"),
        ("plain_alexnet", {"added": -3, "head": "pooled"}, "added is -3"),
        ("plain_resnet18", {"head": "pooled"}, "network_options of plain_resnet18"),
        ("plain_resnet18", {"width": -1}, "network_options of plain_resnet18"),
        ("plain_resnet18", {"mean": 0.5}, "mean is 0.5; allowed: three numbers"),
        ("plain_resnet18", {"mean": ["a", "b", "c"]}, "mean is .'a', 'b', 'c'.; allowed: three numbers"),
        ("plain_resnet18", {"std": [0.2, 0.0, 0.2]}, "std is .0.2, 0.0, 0.2.; allowed: three numbers, above 0"),
        ("plain_resnet18", {"classes": 3}, "network_options of plain_resnet18"),
        ("plain_resnet19", {}, "network is 'plain_resnet19'; allowed: bcos_resnet18, .*, or python:PACKAGE"),
    ],
)
def test_wrong_options(network, options, message):
    with pytest.raises(ValueError, match=message):
        build(network, 4, options)


def test_photos_are_normalised_as_the_options_say():
    torch.manual_seed(0)
    net = build("plain_alexnet", 4, {"width": 4, "head": "pooled", "mean": [0.5, 0.25, 0], "std": [1, 2, 0.5]}).eval()
    x = net.run(torch.full((1, 3, 64, 64), 0.5)).x
    assert x[0, :, 0, 0].tolist() == [0, 0.125, 1]
