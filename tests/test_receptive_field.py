"""Receptive fields against arithmetic that was confirmed by gradient support."""

import pytest
import torch
from torch import nn

from showcause.layers.receptive_field import ReceptiveField, after_layers
from showcause.nets.interpretable import InterpretableCnn
from showcause.nets.trunks import alexnet, vgg16
from tests import golden_files

FACTS = golden_files.facts("icnn_rf")


@pytest.mark.parametrize(
    ("key", "build", "channels"), [("alexnet_torchvision", alexnet, 256), ("vgg16_torchvision", vgg16, 512)]
)
def test_every_layer(key: str, build, channels: int):
    net = InterpretableCnn(2, build(), channels, channels)
    layers = [*net.features, net.top, net.parts]
    chain = [layer for layer in layers if not isinstance(layer, nn.ReLU | nn.LocalResponseNorm)]
    assert len(chain) == len(FACTS[key])
    field = ReceptiveField()
    for layer, expected in zip(chain, FACTS[key], strict=True):
        field = after_layers(layer, field)
        assert (field.size, field.jump, field.center) == (
            expected["size"],
            expected["jump"],
            expected["centre_edge"],
        ), expected["layer"]
    assert net.receptive_field == field


def test_a_unit_sees_its_field_and_no_more():
    """By gradient support: the outermost pixels that move unit 4 are half a field from its centre."""
    layers = nn.Sequential(nn.Conv2d(1, 1, 5, 2, 1), nn.MaxPool2d(3, 2), nn.Conv2d(1, 1, 3, padding=1))
    field, x = after_layers(layers), torch.randn(1, 1, 64, 64, requires_grad=True)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    smooth = nn.Sequential(layers[0], nn.AvgPool2d(3, 2), layers[2])  # a maximum shows only one of its pixels
    (gradient,) = torch.autograd.grad(smooth(x)[0, 0, 4, 4], x)
    seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
    center = field.center + field.jump * 4
    assert (seen.min().item(), seen.max().item() + 1) == (center - field.size / 2, center + field.size / 2)
