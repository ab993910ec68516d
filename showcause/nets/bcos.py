"""B-cos networks: ResNet in the official v2 key layout, and VGG truncated after its fourth stage.

Every network here is a function of the 6-channel input [r, g, b, 1-r, 1-g, 1-b] and ends in

    logits = mean over places of a 1x1 B-cos convolution / temperature + bias        (v2, section 3.4)

so that, with every B-cos factor held, ``logits - bias`` is linear in the input. ``hold`` is explained in
``showcause.layers.bcos``; ReLU (kept by networks that were B-cosified from an ordinary one: Arya et al., NeurIPS 2024)
is piecewise linear and needs no holding.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from showcause.layers.bcos import BcosConv2d, UncentredNorm2d, add_inverse
from showcause.nets.base import Forward


class BcosNet(nn.Module):
    """What all B-cos networks share: the input encoding, the head, the logit's bias and temperature."""

    def __init__(self, classes: int, temperature: float, bias: float | None):
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes is {classes}: at least 2 are needed")
        self.classes, self.temperature = classes, temperature
        # -ln(C-1): an uninformed network starts at probability 1/C for each class (v2, section 3.4).
        self.bias = -math.log(classes - 1) if bias is None else bias

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        """Class scores at every place: (N, 6, H, W) -> (N, classes, h, w)."""
        raise TypeError(f"{type(self).__name__} must define scores()")

    def evidence(self, x: Tensor, hold: bool = False) -> Tensor:
        """Logits before the bias: (N, 6, H, W) in 0..1 -> (N, classes). With ``hold``, linear in x for autograd."""
        return self.scores(x, hold).mean((2, 3)) / self.temperature

    def forward(self, x: Tensor, hold: bool = False) -> Tensor:
        """Logits: (N, 6, H, W) in 0..1 -> (N, classes)."""
        return self.evidence(x, hold) + self.bias

    def run(self, rgb: Tensor, explain: bool) -> Forward:
        """One forward pass for predictions and, with ``explain``, for linear maps; rgb: (N, 3, H, W) in 0..1."""
        x = add_inverse(rgb)
        with torch.inference_mode(False), torch.set_grad_enabled(explain):
            x = x.requires_grad_(explain)
            evidence = self.evidence(x, hold=explain)
        return Forward(x, evidence, evidence.detach() + self.bias, self.bias)


class _BasicBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int, b: float):
        super().__init__()
        self.conv1 = BcosConv2d(channels_in, channels, 3, stride, 1, b=b)
        self.bn1 = UncentredNorm2d(channels)
        self.conv2 = BcosConv2d(channels, channels, 3, 1, 1, b=b)
        self.bn2 = UncentredNorm2d(channels)
        self.downsample: nn.ModuleList | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.ModuleList(
                [BcosConv2d(channels_in, channels, 1, stride, b=b), UncentredNorm2d(channels)]
            )

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        out = self.bn1(self.conv1(x, hold))
        out = self.bn2(self.conv2(out, hold))
        if self.downsample is not None:
            conv, norm = self.downsample
            x = norm(conv(x, hold))
        return out + x


class BcosResNet(BcosNet):
    """ResNet of basic blocks (18: 2, 2, 2, 2); no ReLU, average pooling (v2, section 4)."""

    def __init__(
        self,
        classes: int,
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
        width: int = 64,
        b: float = 2.0,
        temperature: float = 1.0,
        bias: float | None = None,
    ):
        super().__init__(classes, temperature, bias)
        self.conv1 = BcosConv2d(6, width, 7, 2, 3, b=b)
        self.bn1 = UncentredNorm2d(width)
        channels = width
        for stage, count in enumerate(blocks):
            layer = nn.ModuleList()
            for index in range(count):
                out = width * 2**stage
                layer.append(_BasicBlock(channels, out, 2 if stage and not index else 1, b))
                channels = out
            self.add_module(f"layer{stage + 1}", layer)
        self.fc = BcosConv2d(channels, classes, 1, b=b)

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        x = self.bn1(self.conv1(x, hold))
        x = F.avg_pool2d(x, 3, 2, 1)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            for block in getattr(self, name):
                x = block(x, hold)
        out: Tensor = self.fc(x, hold)
        return out


class BcosVgg(BcosNet):
    """VGG convolutions (3x3, norm, ReLU) with average pooling, and a 1x1 head.

    stages: output channels of each convolution, stage by stage; stages are separated by 2x2 average pooling.
    ``features.N`` counts convolutions, norms and poolings as the official VGG with norm does.
    """

    def __init__(
        self,
        classes: int,
        stages: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 384)),
        b: float = 2.0,
        temperature: float = 1.0,
        bias: float | None = None,
    ):
        super().__init__(classes, temperature, bias)
        layers: list[nn.Module] = []
        channels = 6
        for index, stage in enumerate(stages):
            if index:
                layers.append(nn.AvgPool2d(2))
            for out in stage:
                layers += [BcosConv2d(channels, out, 3, 1, 1, b=b), UncentredNorm2d(out)]
                channels = out
        self.features = nn.ModuleList(layers)
        self.classifier = nn.ModuleList([BcosConv2d(channels, classes, 1, b=b)])

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        for layer in self.features:
            if isinstance(layer, BcosConv2d):
                x = layer(x, hold)
            elif isinstance(layer, UncentredNorm2d):
                x = F.relu(layer(x))
            else:
                x = layer(x)
        out: Tensor = self.classifier[0](x, hold)
        return out


def bcos_resnet18(classes: int, **options: Any) -> BcosResNet:
    """ResNet-18 as published: state dicts of the official v2 code load unchanged."""
    return BcosResNet(classes, (2, 2, 2, 2), **options)
