"""B-cos Inception v3 (Szegedy et al., CVPR 2016, with B-cos layers: CVPR 2022): average pooling, no ReLU.

Layers have torchvision's names. The auxiliary head, which only training needs, is left out.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from showcause.layers.bcos import Size
from showcause.nets.bcos import BcosNet, Style

# One convolution: name, output channels, kernel, stride, padding.
Step = tuple[str, int, Size, int, Size]


class _Conv(nn.Module):
    def __init__(self, channels: int, out: int, kernel: Size, stride: int, padding: Size, style: Style):
        super().__init__()
        self.conv, self.bn = style.conv(channels, out, kernel, stride, padding), style.normed(out)

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        out: Tensor = self.bn(self.conv(x, hold))
        return out


class _Mixed(nn.Module):
    """Branches side by side, their outputs concatenated.

    branches: each a chain of convolutions; chains that begin alike share what they have in common. pool: "before", the
    last branch begins with 3x3 average pooling; "beside", pooling with stride 2 is a branch of its own, and the last.
    """

    def __init__(self, channels: int, branches: list[list[Step]], pool: str, style: Style):
        super().__init__()
        self.branches, self.pool = [[step[0] for step in branch] for branch in branches], pool
        for branch in branches:
            inputs = channels
            for name, out, kernel, stride, padding in branch:
                if not hasattr(self, name):
                    self.add_module(name, _Conv(inputs, out, kernel, stride, padding, style))
                inputs = out
        self.out_channels = sum(branch[-1][1] for branch in branches) + (channels if pool == "beside" else 0)

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        done: dict[str, Tensor] = {}
        outputs = []
        for number, branch in enumerate(self.branches):
            value = x
            if self.pool == "before" and number + 1 == len(self.branches):
                value = F.avg_pool2d(x, 3, 1, 1)
            for name in branch:
                if name not in done:
                    done[name] = getattr(self, name)(value, hold)
                value = done[name]
            outputs.append(value)
        if self.pool == "beside":
            outputs.append(F.avg_pool2d(x, 3, 2))
        return torch.cat(outputs, 1)


def _same(name: str, out: int, height: int, width: int | None = None) -> Step:
    """A convolution that keeps the grid."""
    if width is None:
        return name, out, height, 1, height // 2
    return name, out, (height, width), 1, (height // 2, width // 2)


def _halving(name: str, out: int) -> Step:
    return name, out, 3, 2, 0


def _a(pool_channels: int, w: int) -> list[list[Step]]:
    return [
        [_same("branch1x1", 64 // w, 1)],
        [_same("branch5x5_1", 48 // w, 1), _same("branch5x5_2", 64 // w, 5)],
        [_same("branch3x3dbl_1", 64 // w, 1), _same("branch3x3dbl_2", 96 // w, 3), _same("branch3x3dbl_3", 96 // w, 3)],
        [_same("branch_pool", pool_channels // w, 1)],
    ]


def _b(w: int) -> list[list[Step]]:
    return [
        [_halving("branch3x3", 384 // w)],
        [_same("branch3x3dbl_1", 64 // w, 1), _same("branch3x3dbl_2", 96 // w, 3), _halving("branch3x3dbl_3", 96 // w)],
    ]


def _c(inner: int, w: int) -> list[list[Step]]:
    inner, out = inner // w, 192 // w
    return [
        [_same("branch1x1", out, 1)],
        [_same("branch7x7_1", inner, 1), _same("branch7x7_2", inner, 1, 7), _same("branch7x7_3", out, 7, 1)],
        [
            _same("branch7x7dbl_1", inner, 1),
            _same("branch7x7dbl_2", inner, 7, 1),
            _same("branch7x7dbl_3", inner, 1, 7),
            _same("branch7x7dbl_4", inner, 7, 1),
            _same("branch7x7dbl_5", out, 1, 7),
        ],
        [_same("branch_pool", out, 1)],
    ]


def _d(w: int) -> list[list[Step]]:
    out = 192 // w
    return [
        [_same("branch3x3_1", out, 1), _halving("branch3x3_2", 320 // w)],
        [
            _same("branch7x7x3_1", out, 1),
            _same("branch7x7x3_2", out, 1, 7),
            _same("branch7x7x3_3", out, 7, 1),
            _halving("branch7x7x3_4", out),
        ],
    ]


def _e(w: int) -> list[list[Step]]:
    out = 384 // w
    single, double = (
        _same("branch3x3_1", out, 1),
        [_same("branch3x3dbl_1", 448 // w, 1), _same("branch3x3dbl_2", out, 3)],
    )
    return [
        [_same("branch1x1", 320 // w, 1)],
        [single, _same("branch3x3_2a", out, 1, 3)],
        [single, _same("branch3x3_2b", out, 3, 1)],
        [*double, _same("branch3x3dbl_3a", out, 1, 3)],
        [*double, _same("branch3x3dbl_3b", out, 3, 1)],
        [_same("branch_pool", 192 // w, 1)],
    ]


class BcosInception(BcosNet):
    """For inputs of 299x299 pixels (75 at least). narrow: every width is divided by it; 1 is the published network."""

    def __init__(
        self, classes: int, narrow: int = 1, temperature: float = 1.0, bias: float | None = None, **style_options: Any
    ):
        super().__init__(classes, temperature, bias)
        style, w = Style(**style_options), narrow

        stem: list[Step | None] = [
            ("Conv2d_1a_3x3", 32, 3, 2, 0),
            ("Conv2d_2a_3x3", 32, 3, 1, 0),
            ("Conv2d_2b_3x3", 64, 3, 1, 1),
            None,  # pooling
            ("Conv2d_3b_1x1", 80, 1, 1, 0),
            ("Conv2d_4a_3x3", 192, 3, 1, 0),
            None,
        ]
        mixed = {
            "Mixed_5b": (_a(32, w), "before"), "Mixed_5c": (_a(64, w), "before"), "Mixed_5d": (_a(64, w), "before"),
            "Mixed_6a": (_b(w), "beside"),
            "Mixed_6b": (_c(128, w), "before"), "Mixed_6c": (_c(160, w), "before"),
            "Mixed_6d": (_c(160, w), "before"), "Mixed_6e": (_c(192, w), "before"),
            "Mixed_7a": (_d(w), "beside"),
            "Mixed_7b": (_e(w), "before"), "Mixed_7c": (_e(w), "before"),
        }  # fmt: skip
        channels = 6
        self.order: list[str] = []  # "" stands for pooling
        for step in stem:
            self.order.append(step[0] if step else "")
            if step:
                name, out, kernel, stride, padding = step
                self.add_module(name, _Conv(channels, out // w, kernel, stride, padding, style))
                channels = out // w
        for name, (branches, pool) in mixed.items():
            block = _Mixed(channels, branches, pool, style)
            self.add_module(name, block)
            self.order.append(name)
            channels = block.out_channels
        self.fc = style.conv(channels, classes)

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        for name in self.order:
            x = getattr(self, name)(x, hold) if name else F.avg_pool2d(x, 3, 2)
        out: Tensor = self.fc(x, hold)
        return out
