"""B-cos layers (Boehle, Fritz, Schiele: CVPR 2022; v2: TPAMI 2024).

A B-cos unit answers ``|cos(x, w)|^(B-1) * (w_hat . x)`` with ``w_hat = w / |w|`` and no bias (v2, Eq. 3).
Held at its value, the factor ``|cos|^(B-1)`` makes the unit *linear* in x: this is the linear map that the network
really applied. Every layer therefore takes ``hold``:

    hold=False   the ordinary function; its gradient also goes through the factor (training)
    hold=True    the same values; the factor is a constant for autograd, so that the gradient of an output with
                 respect to the input is the linear map W(x) (explanation)

``hold`` is an argument and not a flag on the module, because modules are shared between threads.

State-dict keys follow the official v2 layout: ``<name>.linear.weight``.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH_EPS = 1e-6  # under the root of a convolution's patch norm
LINEAR_EPS = 1e-12  # beside a linear layer's input norm
COS_EPS = 1e-6  # beside |cos| where B is neither 1 nor 2


Size = int | tuple[int, int]  # one number for both, or height and width


def area(size: Size) -> int:
    """Number of places under a kernel."""
    return size * size if isinstance(size, int) else size[0] * size[1]


def unit_rows(weight: Tensor) -> Tensor:
    """``weight`` with each row (all but the first dimension) divided by its Euclidean norm."""
    return weight / torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)


def scale_by_cosine(out: Tensor, norm: Tensor, b: float, hold: bool) -> Tensor:
    """``|out / norm|^(b-1) * out``: the B-cos factor (v2, Eq. 3).

    out: linear response, shape (N, O, ...). norm: norm of the input patch, broadcastable to ``out``.
    """
    if b == 1:
        return out
    magnitude, norm = (out.detach().abs(), norm.detach()) if hold else (out.abs(), norm)
    factor = magnitude / norm
    if b != 2:
        factor = (factor + COS_EPS) ** (b - 1)
    return out * factor


def strongest_unit(out: Tensor, max_out: int) -> Tensor:
    """MaxOut (v1, section 3.2.3): the strongest of ``max_out`` alternatives; (N, O*M, ...) -> (N, O, ...)."""
    if max_out == 1:
        return out
    # max and not amax: where two units tie, its gradient follows one of them, so that the map stays that of a unit.
    return out.unflatten(1, (-1, max_out)).max(2).values


class _Weight(nn.Module):
    """Holds ``linear.weight``, so that keys match the official checkpoints."""

    def __init__(self, *shape: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))
        if not self.weight.is_meta:  # shapes alone: torch would take 20 ms to draw no numbers
            nn.init.kaiming_normal_(self.weight, nonlinearity="linear")


class BcosConv2d(nn.Module):
    """B-cos convolution; (N, C, H, W) -> (N, out_channels, H', W').

    b: the exponent B >= 1. max_out: alternatives per output channel. gain: a fixed factor on every output (v1,
    appendix C). Zero padding counts as zeros in the patch norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: int = 1,
        padding: Size = 0,
        groups: int = 1,
        b: float = 2.0,
        max_out: int = 1,
        gain: float = 1.0,
    ):
        super().__init__()
        if b < 1 or max_out < 1:
            raise ValueError(f"b is {b} and max_out is {max_out}: both must be at least 1")
        if not (gain > 0 and math.isfinite(gain)):
            raise ValueError(f"gain is {gain}: it must be above 0")
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.linear = _Weight(out_channels * max_out, in_channels // groups, height, width)
        self.kernel_size, self.stride, self.padding, self.groups = kernel_size, stride, padding, groups
        self.b, self.max_out, self.gain = b, max_out, gain

    def patch_norm(self, x: Tensor) -> Tensor:
        """Euclidean norm of the patch under each output: (N, C, H, W) -> (N, O or 1, H', W')."""
        energy = x.square()
        energy = energy.unflatten(1, (self.groups, -1)).sum(2)  # [N,G,H,W]
        if (self.kernel_size, self.stride, self.padding) != (1, 1, 0):
            energy = F.avg_pool2d(energy, self.kernel_size, self.stride, self.padding) * area(self.kernel_size)
        norm = (energy + PATCH_EPS).sqrt()
        if self.groups > 1:
            norm = norm.repeat_interleave(self.linear.weight.shape[0] // self.max_out // self.groups, dim=1)
        return norm

    def forward(self, x: Tensor, hold: bool = False) -> Tensor:
        out = F.conv2d(x, unit_rows(self.linear.weight), None, self.stride, self.padding, 1, self.groups)
        out = strongest_unit(out, self.max_out)
        if self.b != 1:
            out = scale_by_cosine(out, self.patch_norm(x), self.b, hold)
        return out if self.gain == 1 else out * self.gain


class BcosLinear(nn.Module):
    """B-cos fully connected layer; (N, in_features) -> (N, out_features)."""

    def __init__(self, in_features: int, out_features: int, b: float = 2.0, max_out: int = 1):
        super().__init__()
        self.linear = _Weight(out_features * max_out, in_features)
        self.b, self.max_out = b, max_out

    def forward(self, x: Tensor, hold: bool = False) -> Tensor:
        out = strongest_unit(F.linear(x, unit_rows(self.linear.weight)), self.max_out)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True) + LINEAR_EPS
        return scale_by_cosine(out, norm, self.b, hold)


class UncentredNorm2d(nn.Module):
    """Batch norm without centring and without bias (v2, section 3.3): ``x / sqrt(var + 1e-5) * weight``.

    ``running_var`` holds the biased, centred batch variance. ``running_mean`` is stored in the official layout and
    stays zero. In eval mode the layer is linear, so it changes nothing about completeness. In train mode the variance
    is a function of x; a linear map of a network in train mode has no meaning, so ``hold`` is not taken.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            variance = x.float().var((0, 2, 3), correction=0)
            with torch.no_grad():
                self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
                self.num_batches_tracked += 1
        else:
            variance = self.running_var
        gain = self.weight * (variance + self.eps).rsqrt()
        return x * gain.to(x.dtype)[:, None, None]


def add_inverse(rgb: Tensor) -> Tensor:
    """The 6-channel input [r, g, b, 1-r, 1-g, 1-b] (v1, section 4); (N, 3, H, W) in 0..1 -> (N, 6, H, W)."""
    return torch.cat([rgb, 1 - rgb], dim=1)
