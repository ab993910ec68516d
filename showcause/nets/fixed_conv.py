"""Convolutions whose filters do not change any more."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


class FixedConv:
    """``F.conv2d`` with these filters. On a CPU they are laid out once as oneDNN reads them, which it would else do at
    every call: for one photo and a late layer of ResNet-18 that takes as long as the convolution.

    weight: (O, C / groups, h, w).
    """

    def __init__(self, weight: Tensor, stride: int, padding: int | Sequence[int], groups: int = 1):
        self.stride, self.groups = [stride, stride], groups
        self.padding = [padding, padding] if isinstance(padding, int) else list(padding)
        self._weight = weight
        self._packed: Tensor | None = None
        if weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            self._packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
                weight.detach().to_mkldnn(), self.padding, self.stride, [1, 1], groups
            )

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is None or torch.compiler.is_exporting():
            return F.conv2d(x, self._weight, None, self.stride, self.padding, 1, self.groups)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, None, self.padding, self.stride, [1, 1], self.groups, "none", [], ""
        )
