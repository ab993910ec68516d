"""Convolutions whose filters do not change any more, and their transposes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

ONE_BLOCK = 32  # channels that a convolution on a CPU computes at the price of one


def pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class FixedConv:
    """``F.conv2d`` with these filters. On a CPU they are laid out once as oneDNN reads them, which it would else do at
    every call: for one photo and a late layer of ResNet-18 that takes as long as the convolution.

    weight: (O, C / groups, h, w). packed: whether they may be; what is exported must not.
    """

    def __init__(
        self,
        weight: Tensor,
        stride: int = 1,
        padding: int | Sequence[int] = 0,
        groups: int = 1,
        packed: bool = True,
    ):
        self.stride, self.padding, self.groups = pair(stride), pair(padding), groups
        self._weight, self._packed = weight, False
        if not packed:
            return
        if weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            self._packed = True
            self._weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
                weight.detach().to_mkldnn(), self.padding, self.stride, [1, 1], groups
            )

    def __call__(self, x: Tensor, padding: Sequence[int] | None = None) -> Tensor:
        """padding: in place of the one given beforehand."""
        padding = self.padding if padding is None else list(padding)
        if not self._packed:
            return F.conv2d(x, self._weight, None, self.stride, padding, 1, self.groups)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, None, padding, self.stride, [1, 1], self.groups, "none", [], ""
        )


class PhasedTranspose:
    """The transpose of a convolution with a stride s and few channels, as one convolution without.

    Each of the s x s places within a step is a channel of its own, and they are put in order afterwards: that fills the
    block of channels that is computed anyway, which the transpose of a network's first layer leaves nearly empty.
    weight: (O, C, k, k) of the convolution, k >= s.
    """

    def __init__(self, weight: Tensor, stride: int, padding: int | Sequence[int], packed: bool = True):
        (_, channels, *kernel), self.stride = weight.shape, stride
        # Along an axis, input place s * q + r has to do with output place q + (r + padding - tap) / s, for each tap of
        # the kernel for which that is a whole number.
        axes = [
            [
                [(tap, (r + pad - tap) // stride) for tap in range(size) if (r + pad - tap) % stride == 0]
                for r in range(stride)
            ]
            for size, pad in zip(kernel, pair(padding), strict=True)
        ]
        self.first = [min(place for taps in axis for _, place in taps) for axis in axes]
        self.last = [max(place for taps in axis for _, place in taps) for axis in axes]
        size = [last - first + 1 for first, last in zip(self.first, self.last, strict=True)]
        phases = weight.new_zeros(channels, stride, stride, len(weight), *size)
        for row, tall in enumerate(axes[0]):
            for column, wide in enumerate(axes[1]):
                for i, down in tall:
                    for j, across in wide:
                        at = down - self.first[0], across - self.first[1]
                        phases[:, row, column, :, at[0], at[1]] = weight[:, :, i, j].T
        layout = torch.channels_last if is_channels_last(weight) else torch.contiguous_format
        self._conv = FixedConv(phases.flatten(0, 2).contiguous(memory_format=layout), packed=packed)

    def __call__(self, slope: Tensor, size: Sequence[int]) -> Tensor:
        """slope: (N, O, h, w); size: (H, W) of what the convolution had. Returns (N, C, H, W)."""
        steps = [-(-large // self.stride) for large in size]
        before = [-first for first in self.first]
        after = [last + step - small for last, step, small in zip(self.last, steps, slope.shape[2:], strict=True)]
        padding = [max(0, *each) for each in zip(before, after, strict=True)]
        top, left = (pad - each for pad, each in zip(padding, before, strict=True))
        phases = self._conv(slope, padding)[:, :, top : top + steps[0], left : left + steps[1]]
        return F.pixel_shuffle(phases, self.stride)[:, :, : size[0], : size[1]]


def is_channels_last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
