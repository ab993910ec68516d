"""Convolutions with filters laid out beforehand, and the transpose by phases, against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from showcause.nets.fixed_conv import FixedConv, PhasedTranspose


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "groups"), [(3, 1, 1, 1), (7, 2, 3, 1), (1, 1, 0, 1), (3, 2, 1, 2)]
)
def test_it_is_torch_s_convolution(layout, kernel, stride, padding, groups):
    """For photos of any size and number, whatever it was laid out for."""
    weight = torch.randn(12, 6 // groups, kernel, kernel).contiguous(memory_format=layout)
    conv = FixedConv(weight, stride, padding, groups)
    for shape in ((1, 6, 32, 32), (5, 6, 19, 23)):
        x = torch.randn(shape).contiguous(memory_format=layout)
        wanted = F.conv2d(x, weight, None, stride, padding, 1, groups)
        torch.testing.assert_close(conv(x), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", [3, 4, 7, (3, 5)])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("padding", [0, 1, 3, (1, 0)])
@pytest.mark.parametrize("size", [(32, 32), (31, 30), (29, 33)])
def test_phases_are_the_transpose(kernel, stride, padding, size):
    """That of autograd, in double; rows and columns at the far edge that no patch reached are 0."""
    tall, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    weight = torch.randn(5, 6, tall, wide, dtype=torch.double)
    x = torch.randn(2, 6, *size, dtype=torch.double, requires_grad=True)
    out = F.conv2d(x, weight, None, stride, padding)
    slope = torch.randn_like(out)
    (wanted,) = torch.autograd.grad(out, x, slope)
    torch.testing.assert_close(PhasedTranspose(weight, stride, padding)(slope, size), wanted)
