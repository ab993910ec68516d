"""Interpretable CNNs (Zhang, Wu, Zhu: CVPR 2018), and their ordinary twins.

An ordinary network up to its top convolution, which becomes interpretable, and above it a new interpretable 3x3
convolution, ``parts``, whose masked maps are all that the head sees. The default head is linear in the pooled maps,

    logit_c = sum over filters k of w_ck * (sum over places of masked map k) / n + b_c

so that each part's contribution to a logit is exact; the paper's fully connected head is there, too. The twin
(``masked=False``) has the same depth and head and no masks.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from showcause.layers.interpretable import InterpretableConv2d, Setting
from showcause.layers.receptive_field import ReceptiveField, after_layers
from showcause.nets.base import Forward, reading

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the ImageNet training that the filters come from
PARTS = "parts"  # name of the layer whose filters are the parts
HEADS = ("linear", "full")


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, kernel, stride, padding), nn.ReLU()]


def pool(kernel: int, stride: int = 2) -> list[nn.Module]:
    return [nn.MaxPool2d(kernel, stride, ceil_mode=True)]


# What lies below the top convolution; ``features.N`` counts as torchvision does (AlexNet, VGG-16), from N = 0.


def alexnet() -> list[nn.Module]:
    """Krizhevsky (2014), one tower: 13 x 13 places at 224 px."""
    first = [*conv(3, 64, 11, 4, 2), nn.MaxPool2d(3, 2), *conv(64, 192, 5, 1, 2), nn.MaxPool2d(3, 2)]
    return [*first, *conv(192, 384), *conv(384, 256)]


def vgg16() -> list[nn.Module]:
    """Simonyan and Zisserman (2015), configuration D: 14 x 14 places at 224 px."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512)):
        for out in stage:
            layers += conv(channels, out)
            channels = out
        layers += pool(2)
    return [*layers, *conv(512, 512), *conv(512, 512)]


def vgg_m() -> list[nn.Module]:
    """Chatfield and others (2014), CNN-M: 13 x 13 places at 224 px."""
    first = [*conv(3, 96, 7, 2, 0), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), *pool(3)]
    second = [*conv(96, 256, 5, 2, 1), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), *pool(3)]
    return [*first, *second, *conv(256, 512), *conv(512, 512)]


def vgg_s() -> list[nn.Module]:
    """Chatfield and others (2014), CNN-S: 18 x 18 places at 224 px."""
    first = [*conv(3, 96, 7, 2, 0), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), *pool(3, 3)]
    return [*first, *conv(96, 256, 5, 1, 1), *pool(2), *conv(256, 512), *conv(512, 512)]


class FullHead(nn.Module):
    """The paper's head: pooling to 6 x 6 and three fully connected layers. Not linear in the maps."""

    def __init__(self, filters: int, classes: int, hidden: int):
        super().__init__()
        self.pool = nn.AdaptiveMaxPool2d(6)
        self.inner = nn.Sequential(
            nn.Linear(36 * filters, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()
        )
        self.last = nn.Linear(hidden, classes)

    def forward(self, maps: Tensor) -> Tensor:
        return self.last(self.inner(self.pool(maps).flatten(1))) - self.last.bias


class LinearHead(nn.Module):
    """Linear in the pooled maps: contributions of filters sum to the logit minus its bias."""

    def __init__(self, filters: int, classes: int):
        super().__init__()
        self.last = nn.Linear(filters, classes)

    def forward(self, maps: Tensor) -> Tensor:
        # Over n and not n^2: a masked map is one blob, whose sum does not grow with the grid.
        return (maps.sum((2, 3)) / maps.shape[-1]) @ self.last.weight.T


class InterpretableCnn(nn.Module):
    """lower: the layers below the top convolution, ending in ``channels``. top, filters: filters of the top convolution
    and of ``parts``. head: "linear" or "full" with ``hidden`` units. setting, masked: see ``InterpretableConv2d``.
    """

    def __init__(
        self,
        classes: int,
        lower: Sequence[nn.Module],
        channels: int,
        top: int,
        filters: int | None = None,
        head: str = "linear",
        hidden: int = 4096,
        setting: Setting = "tracked",
        masked: bool = True,
    ):
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes is {classes}: at least 1 is needed")
        if head not in HEADS:
            raise ValueError(f"head is {head!r}; allowed: {', '.join(HEADS)}")
        filters = top if filters is None else filters
        self.classes = classes
        self.features = nn.Sequential(*lower)
        # In our own setting the top convolution stays ordinary: a mask there takes from the parts above it.
        self.top = InterpretableConv2d(channels, top, classes, 3, setting, masked and setting != "tracked")
        self.parts = InterpretableConv2d(top, filters, classes, 3, setting, masked)
        self.head = LinearHead(filters, classes) if head == "linear" else FullHead(filters, classes, hidden)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @property
    def bias(self) -> Tensor:
        """Of each class's logit: (classes,)."""
        return self.head.last.bias

    @cached_property
    def receptive_field(self) -> ReceptiveField:
        """Of the units of ``parts``."""
        return after_layers(self.parts, after_layers(self.top, after_layers(self.features)))

    def lower(self, rgb: Tensor) -> Tensor:
        """What lies below the top convolution: (N, 3, H, W) in 0..1 -> (N, channels, n, n)."""
        return self.features((rgb - self.mean) / self.std)

    def forward(self, rgb: Tensor) -> Tensor:
        """Logits: (N, 3, H, W) in 0..1 -> (N, classes)."""
        return self.head(self.parts(self.top(self.lower(rgb)))) + self.bias

    def run(self, rgb: Tensor, explain: bool, layers: Iterable[str] = ()) -> Forward:
        """One forward pass; with ``explain``, the graph runs from the parts' masked maps to the evidence."""
        with torch.inference_mode(False), reading(layers) as activations:
            with torch.no_grad():
                maps = self.parts(self.top(self.lower(rgb)))
            with torch.set_grad_enabled(explain):
                maps = maps.requires_grad_(explain)
                evidence = self.head(maps)
        bias = self.bias.detach()
        return Forward(rgb, evidence, evidence.detach() + bias, bias, {**activations, PARTS: maps})
