"""The plain nine-layer B-cos network of the CIFAR-10 experiments (CVPR 2022, appendix C): convolutions and no more."""

import math
from typing import Any

from torch import Tensor, nn

from showcause.nets.bcos import BcosNet, Style

CHANNELS = (64, 64, 128, 128, 128, 256, 256, 256)
STRIDES = (1, 1, 2, 1, 1, 2, 1, 1)
# log10 of the logits' temperature for each B of the experiments.
TEMPERATURES = {1.0: -3, 1.25: -3, 1.5: -2, 1.75: 1, 2.0: 2, 2.25: 2, 2.5: 3}


class BcosPlain(BcosNet):
    """3x3 convolutions one after the other, then a 1x1 one to the classes. channels, strides: of each 3x3 one."""

    def __init__(
        self,
        classes: int,
        channels: tuple[int, ...] = CHANNELS,
        strides: tuple[int, ...] = STRIDES,
        temperature: float = 1.0,
        bias: float | None = None,
        **style_options: Any,
    ):
        super().__init__(classes, temperature, bias)
        if len(channels) != len(strides):
            raise ValueError(f"{len(channels)} channels and {len(strides)} strides: one of each a layer")
        style = Style(**style_options)
        inputs = 6
        self.layers = nn.ModuleList()
        for out, stride in zip(channels, strides, strict=True):
            self.layers.append(style.conv(inputs, out, 3, stride, 1))
            inputs = out
        self.layers.append(style.conv(inputs, classes))

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        for layer in self.layers:
            x = layer(x, hold)
        return x


def cifar9(classes: int, b: float = 2.0, **options: Any) -> BcosPlain:
    """The network as published for one B: MaxOut of two, every layer's gain 10^(1.5 B - 1.75), bias log(0.1 / 0.9).

    The published temperatures of the logits are those of ``TEMPERATURES``; another B takes that of the nearest one.
    """
    nearest = min(TEMPERATURES, key=lambda known: abs(known - b))
    published = {
        "max_out": 2,
        "norm": False,
        "gain": 10 ** (1.5 * b - 1.75),
        "temperature": 10.0 ** TEMPERATURES[nearest],
        "bias": math.log(0.1 / 0.9),
    }
    return BcosPlain(classes, b=b, **(published | options))
