"""Interpretable CNNs (Zhang, Wu, Zhu: CVPR 2018), and their ordinary twins.

An ordinary network up to its top convolution, which becomes interpretable, and above it a new interpretable 3x3
convolution, ``parts``, whose masked maps are all that the head sees. The default head is linear in the pooled maps,

    logit_c = sum over filters k of w_ck * (sum over places of masked map k) / n + b_c

so that each part's contribution to a logit is exact; the paper's fully connected head is there, too. The twin
(``masked=False``) has the same depth and head and no masks.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from showcause.layers.interpretable import InterpretableConv2d, Setting
from showcause.layers.receptive_field import ReceptiveField, after_layers
from showcause.nets.base import Forward, Tape, recording
from showcause.nets.ordinary import MEAN, STD

PARTS = "parts"  # name of the layer whose filters are the parts
HEADS = ("linear", "full")


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

    def encoded(self, rgb: Tensor) -> Tensor:
        """Photos as ``features`` expects them: (N, 3, H, W) in 0..1 -> the same shape."""
        return (rgb - self.mean) / self.std

    def evidence(self, x: Tensor) -> Tensor:
        """Logits before the bias: encoded photos -> (N, classes)."""
        return self.head(self.parts(self.top(self.features(x))))

    def lower(self, rgb: Tensor) -> Tensor:
        """What lies below the top convolution: (N, 3, H, W) in 0..1 -> (N, channels, n, n)."""
        return self.features(self.encoded(rgb))

    def forward(self, rgb: Tensor) -> Tensor:
        """Logits: (N, 3, H, W) in 0..1 -> (N, classes)."""
        return self.evidence(self.encoded(rgb)) + self.bias

    def run(self, rgb: Tensor, tape: Tape = Tape()) -> Forward:
        """One forward pass; rgb: (N, 3, H, W) in 0..1."""
        with recording(tape) as activations:
            x = self.encoded(rgb).requires_grad_(tape.start == "input")
            evidence = self.evidence(x)
        bias = self.bias.detach()
        return Forward(x, evidence, evidence.detach() + bias, bias, activations)
