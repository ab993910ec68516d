"""B-cos DenseNet in the official v2 key layout (TPAMI 2024, section 4): no ReLU, average pooling."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from showcause.nets.bcos import BcosNet, Style

BOTTLENECK = 4  # a dense layer narrows its input to this many times the growth (Huang et al., CVPR 2017)


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int, style: Style):
        super().__init__()
        inner = BOTTLENECK * growth
        self.norm1, self.conv1 = style.normed(channels), style.conv(channels, inner)
        self.norm2, self.conv2 = style.normed(inner), style.conv(inner, growth, 3, 1, 1)

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        x = self.conv1(self.norm1(x), hold)
        new: Tensor = self.conv2(self.norm2(x), hold)
        return new


class _DenseBlock(nn.ModuleDict):
    """Every layer sees the input of the block and what all layers before it added."""

    def __init__(self, layers: int, channels: int, growth: int, style: Style):
        super().__init__()
        for index in range(layers):
            self[f"denselayer{index + 1}"] = _DenseLayer(channels + index * growth, growth, style)

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x, hold)], 1)
        return x


class _Transition(nn.Module):
    """Halves the channels and the grid."""

    def __init__(self, channels: int, style: Style):
        super().__init__()
        self.norm, self.conv = style.normed(channels), style.conv(channels, channels // 2)

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        return F.avg_pool2d(self.conv(self.norm(x), hold), 2)


class BcosDenseNet(BcosNet):
    """blocks: dense layers in each block. growth: channels that each of them adds. width: of the first convolution."""

    def __init__(
        self,
        classes: int,
        blocks: tuple[int, ...] = (6, 12, 24, 16),
        growth: int = 32,
        width: int = 64,
        temperature: float = 1.0,
        bias: float | None = None,
        **style_options: Any,
    ):
        super().__init__(classes, temperature, bias)
        style = Style(**style_options)
        self.features = nn.ModuleDict({"conv0": style.conv(6, width, 7, 2, 3), "norm0": style.normed(width)})
        channels = width
        for index, layers in enumerate(blocks, start=1):
            self.features[f"denseblock{index}"] = _DenseBlock(layers, channels, growth, style)
            channels += layers * growth
            if index < len(blocks):
                self.features[f"transition{index}"] = _Transition(channels, style)
                channels //= 2
        self.features["norm5"] = style.normed(channels)
        self.classifier = style.conv(channels, classes)

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        first, norm, *middle, last = self.features.values()
        x = F.avg_pool2d(norm(first(x, hold)), 3, 2, 1)
        for part in middle:
            x = part(x, hold)
        out: Tensor = self.classifier(last(x), hold)
        return out
