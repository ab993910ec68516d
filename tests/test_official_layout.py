"""State dicts of the official v2 networks have the published keys, shapes and order."""

import hashlib
import json

import pytest
import torch

from showcause.nets import NETS, build
from tests import golden_files

OFFICIAL = golden_files.facts("bcos_official_keys")


@pytest.mark.parametrize("network", sorted(set(OFFICIAL) - {"about"}))
def test_keys_shapes_and_order_are_the_published_ones(network):
    with torch.device("meta"):
        state = build(network, 1000, {}).state_dict()
    listed = [[key, list(value.shape)] for key, value in state.items()]
    assert [len(listed), hashlib.sha256(json.dumps(listed).encode()).hexdigest()] == OFFICIAL[network]


# Weights of one of the two units an output. VGG-11, Inception v3: torchvision's published counts (no auxiliary head),
# without biases and norms, and with six input channels.
VGG11 = 132_863_336 - (64 + 128 + 2 * 256 + 4 * 512) - (2 * 4096 + 1000) + 3 * 64 * 9
INCEPTION3 = 23_834_568 - 2 * 17_216 - 1000 + 3 * 32 * 9
CIFAR9 = 9 * (6 * 64 + 64 * 64 + 64 * 128 + 2 * 128 * 128 + 128 * 256 + 2 * 256 * 256) + 256 * 10


@pytest.mark.parametrize(
    ("network", "classes", "layers", "weights"),
    [
        ("bcos_v1_vgg11", 1000, 11, VGG11),
        ("bcos_v1_inception3", 1000, 95, INCEPTION3),
        ("bcos_v1_cifar9", 10, 9, CIFAR9),
    ],
)
def test_v1_networks_have_the_layers_of_the_paper(network, classes, layers, weights):
    with torch.device("meta"):
        state = build(network, classes, {}).state_dict()
    assert {key.split(".")[-2] for key in state} == {"linear"}, "convolutions and nothing else"
    assert len(state) == layers
    assert sum(value.numel() for value in state.values()) == 2 * weights


def test_every_network_builds_with_its_published_options():
    for network in NETS:
        with torch.device("meta"):
            assert build(network, 10, {}).classes == 10
