"""The transpose of average pooling in ONNX, which torch's exporter does not know."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx_ir import tensor
from onnxscript import opset18 as op


def avg_pool2d_backward(
    slope: Any, like: Any, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], *_: Any
) -> Any:
    """A transposed convolution of each channel by itself with a filter of 1 / area: every value of a slope goes to all
    that it was the mean of. slope: (N, C, h, w); like: (N, C, H, W).
    """
    (height, width), (rows, columns), channels = like.shape[2:], slope.shape[2:], slope.shape[1]
    missing = [
        large - ((small - 1) * step - 2 * pad + size)
        for large, small, step, pad, size in zip((height, width), (rows, columns), stride, padding, kernel, strict=True)
    ]
    mean: Any = tensor(np.full((1, 1, *kernel), 1 / np.prod(kernel), np.float32))
    one_by_one: Any = op.Constant(value_ints=[-1, 1, rows, columns])
    together: Any = op.Constant(value_ints=[-1, channels, height, width])
    spread = op.ConvTranspose(
        op.Reshape(slope, one_by_one),
        op.Constant(value=mean),
        kernel_shape=list(kernel),
        strides=list(stride),
        pads=[*padding, *padding],
        output_padding=missing,
    )
    return op.Reshape(spread, together)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.avg_pool2d_backward.default: avg_pool2d_backward,
}
