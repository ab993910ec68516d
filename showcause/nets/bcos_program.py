"""A B-cos network as a list of steps, each with its transpose: logits, and the linear map W(x), without autograd.

With every B-cos factor held a network is linear in its input, so that W(x) for a class comes from walking the steps
backwards with transposed operations (v1, Eq. 5). What does not change between photos is computed once: unit filters,
and the norms that follow convolutions. With B = 2 a unit answers ``o |o| / |patch|`` where ``o = w_hat . x``, so that a
gain g behind it moves into its filter as ``sign(g) sqrt(|g|)``.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from showcause.layers.bcos import COS_EPS, PATCH_EPS, BcosConv2d, UncentredNorm2d, area, unit_rows
from showcause.nets.fixed_conv import ONE_BLOCK, FixedConv, PhasedTranspose, is_channels_last

LEAVES = (BcosConv2d, UncentredNorm2d, nn.AvgPool2d, nn.Identity)
Shape = torch.Size


class Unsupported(Exception):
    """The network does what no step here can."""


class Step(Protocol):
    """One operation."""

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Any]:
        """Its value, and what ``pull`` needs of this pass."""
        ...

    def pull(self, slope: Tensor, kept: Any, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        """The transpose: from the slope of its value (n, ...) to those of its inputs, whose shapes are given."""
        ...


class Conv:
    """A B-cos convolution with the norm and the ReLU that may follow it."""

    def __init__(self, conv: BcosConv2d):
        weight = conv.linear.weight.detach()
        self.conv, self.b, self.max_out, self.relu = conv, conv.b, conv.max_out, False
        self.weight = unit_rows(weight.double())
        self.gain: Tensor | None = None  # where it cannot be in the filters
        self.scale(torch.full((len(weight) // conv.max_out,), conv.gain, dtype=torch.double, device=weight.device))

    def scale(self, gain: Tensor) -> None:
        """Multiplies each output channel by a number."""
        rows = gain.repeat_interleave(self.max_out)[:, None, None, None]
        if self.b == 1:
            self.weight = self.weight * rows
        elif self.b == 2:
            self.weight = self.weight * rows.sign() * rows.abs().sqrt()
        else:
            gain = gain[:, None, None]
            self.gain = gain if self.gain is None else self.gain * gain

    def finish(self, packed: bool) -> "Conv":
        """When all that follows it has been taken in. packed: see ``FixedConv``."""
        dtype = self.conv.linear.weight.dtype
        layout = torch.channels_last if is_channels_last(self.conv.linear.weight) else torch.contiguous_format
        self.weight = self.weight.to(dtype).contiguous(memory_format=layout)
        self.gain = None if self.gain is None or bool((self.gain == 1).all()) else self.gain.to(dtype)
        kernel, padding = self.weight.shape[2:], self.conv.padding
        pads = (padding, padding) if isinstance(padding, int) else padding
        self.rest = tuple(size - 1 - pad for size, pad in zip(kernel, pads, strict=True))
        stride, groups = self.conv.stride, self.conv.groups
        # With stride 1 the transpose is a convolution, too, and a faster one.
        self.plain_transpose = stride == 1 and groups == 1 and min(self.rest) >= 0
        # Whether it has a short way for slopes of a few of its channels.
        self.can_pull_rows = kernel == (1, 1) and self.plain_transpose and self.max_out == 1 and self.rest == (0, 0)
        self.there = FixedConv(self.weight, stride, self.conv.padding, groups, packed)
        self.phased: PhasedTranspose | None = None
        if self.plain_transpose:
            turned = self.weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=layout)
            self.back = FixedConv(turned, 1, self.rest, packed=packed)
        elif 1 < stride <= min(kernel) and groups == 1 and self.weight.shape[1] * stride**2 <= ONE_BLOCK:
            self.phased = PhasedTranspose(self.weight, stride, self.conv.padding, packed)
        if (self.plain_transpose or self.phased) and not self.can_pull_rows:
            del self.weight  # laid out for there and for back: nobody reads it any more
        return self

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Any]:
        (x,) = inputs
        out = self.there(x)
        which = None
        if self.max_out > 1:
            out, which = out.unflatten(1, (-1, self.max_out)).max(2)
        if self.b == 1:
            out = out.relu_() if self.relu else out
            return out, ((out > 0).to(out.dtype) if self.relu else None, which)
        if self.b == 2:  # o |o| / norm: in place, because nobody else has o
            out = out.relu_() if self.relu else out
            factor = (out if self.relu else out.abs()) * self._energy(x).rsqrt_()
            return out.mul_(factor), (factor, which)
        factor = (out.abs() * self._energy(x).rsqrt_()).add_(COS_EPS).pow_(self.b - 1)
        factor = factor if self.gain is None else factor.mul_(self.gain)
        out = out.mul_(factor)
        if self.relu:
            factor, out = factor * (out > 0), out.relu_()
        return out, (factor, which)

    def _energy(self, x: Tensor) -> Tensor:
        """The squared norm of the patch under each output, and a little: (N, 1 or O, H', W')."""
        conv = self.conv
        if conv.groups > 1:
            return conv.patch_norm(x).square()
        energy = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_()
        if (conv.kernel_size, conv.stride, conv.padding) != (1, 1, 0):
            energy = F.avg_pool2d(energy, conv.kernel_size, conv.stride, conv.padding).mul_(area(conv.kernel_size))
        return energy.add_(PATCH_EPS)

    def pull(self, slope: Tensor, kept: Any, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        factor, which = kept
        return (self._transpose(slope if factor is None else slope * factor, which, shapes[0]),)

    def _transpose(self, slope: Tensor, which: Tensor | None, shape: Shape) -> Tensor:
        if which is not None:
            spread = slope.new_zeros((*slope.shape[:2], self.max_out, *slope.shape[2:]))
            slope = spread.scatter_(2, which.unsqueeze(2), slope.unsqueeze(2)).flatten(1, 2)
        conv = self.conv
        if self.plain_transpose:
            return self.back(slope)
        if self.phased is not None:
            return self.phased(slope, shape[2:])
        missing = _missing(slope.shape, shape, self.weight.shape[2:], conv.stride, conv.padding)
        return F.conv_transpose2d(slope, self.weight, None, conv.stride, conv.padding, missing, conv.groups)

    def pull_rows(self, channels: Tensor, weights: Tensor, kept: Any) -> Tensor:
        """The transpose for slopes that are one number in each of a few channels: channels, weights (n, k)."""
        factor, _ = kept
        rows = self.weight[:, :, 0, 0][channels] * weights[..., None]  # [n,k,C]
        index = channels[:, :, None, None].expand(-1, -1, *factor.shape[2:])
        return torch.einsum("nkhw,nkc->nhwc", factor.gather(1, index), rows).permute(0, 3, 1, 2)


def _missing(small: Shape, large: Shape, kernel: Shape, stride: int, padding: Any) -> list[int]:
    """Rows and columns at the far edge that no patch reached."""
    pads = (padding, padding) if isinstance(padding, int) else padding
    return [large[2 + axis] - ((small[2 + axis] - 1) * stride - 2 * pads[axis] + kernel[axis]) for axis in range(2)]


@dataclass(frozen=True)
class Pool:
    """Average pooling."""

    kernel_size: int
    stride: int | None = None
    padding: int = 0

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Any]:
        return F.avg_pool2d(inputs[0], self.kernel_size, self.stride, self.padding), None

    def pull(self, slope: Tensor, kept: Any, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        size, stride, padding = (
            [each] * 2 for each in (self.kernel_size, self.stride or self.kernel_size, self.padding)
        )
        # Its values are not read, but its layout is: the slope's, or the result would be put in order number by number.
        layout = (
            torch.channels_last if slope.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        )
        like = torch.empty(
            (slope.shape[0], *shapes[0][1:]), dtype=slope.dtype, device=slope.device, memory_format=layout
        )
        back = torch.ops.aten.avg_pool2d_backward
        return (back(slope, like, size, stride, padding, False, True, None),)


@dataclass(frozen=True)
class Scale:
    """A norm that follows no convolution."""

    gain: Tensor

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Any]:
        return inputs[0] * self.gain, None

    def pull(self, slope: Tensor, kept: Any, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        return (slope * self.gain,)


class Relu:
    """One that follows no convolution."""

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Any]:
        out = inputs[0].relu()
        return out, out > 0

    def pull(self, slope: Tensor, kept: Any, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        return (slope * kept,)


class Add:
    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Any]:
        return inputs[0] + inputs[1], None

    def pull(self, slope: Tensor, kept: Any, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        return slope, slope


class Cat:
    """Along the channels."""

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Any]:
        return torch.cat(list(inputs), 1), None

    def pull(self, slope: Tensor, kept: Any, shapes: Sequence[Shape]) -> Sequence[Tensor]:
        return slope.split([shape[1] for shape in shapes], 1)


class _Tracer(fx.Tracer):
    traced_func_name = "held_scores"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES)


@dataclass(frozen=True)
class Pass:
    """What one pass left behind. scores: (N, classes, h, w). kept, shapes: of each step, for the way back."""

    scores: Tensor
    kept: list[Any]
    shapes: list[list[Shape]]


class Program:
    """The steps of a network whose weights will not change any more. Raises Unsupported for what it cannot do.

    net: has ``held_scores``, from the encoded input (N, C, H, W) to the scores at every place. packed: see
    ``FixedConv``.
    """

    def __init__(self, net: nn.Module, packed: bool = True):
        self.steps: list[Step] = []
        self.sources: list[list[int]] = []  # of each step: 0 is the input, n the value of the n-th step
        self.modules = dict(net.named_modules())
        numbers: dict[fx.Node, int] = {}
        for node in _Tracer().trace(net).nodes:
            if node.op == "placeholder":
                numbers[node] = 0
            elif node.op != "output":
                numbers[node] = self._take(node, numbers)
            elif numbers[node.args[0]] != len(self.steps):
                raise Unsupported("the scores are not what comes last")
        self.last_use = {source: place for place, sources in enumerate(self.sources) for source in sources}
        for step in self.steps:
            if isinstance(step, Conv):
                step.finish(packed)

    def _take(self, node: fx.Node, numbers: dict[fx.Node, int]) -> int:
        """The number of a node's value, which may be that of the step before, made to do both."""
        first: Any = node.args[0]
        inputs: Any = first if isinstance(first, list | tuple) else [first]
        inputs = list(node.args) if node.target is operator.add else inputs
        sources = [numbers[each] for each in inputs]
        before = self.steps[sources[0] - 1] if sources[0] else None
        conv = before if isinstance(before, Conv) and len(inputs[0].users) == 1 and not before.relu else None
        step: Step
        match self.modules[str(node.target)] if node.op == "call_module" else node.target:
            case nn.Identity():
                return sources[0]
            case BcosConv2d() as found:
                step = Conv(found)
            case UncentredNorm2d() as norm:
                gain = norm.weight.detach().double() * (norm.running_var.double() + norm.eps).rsqrt()
                if conv and conv.max_out == 1:
                    conv.scale(gain)
                    return sources[0]
                step = Scale(gain.to(norm.weight.dtype)[:, None, None])
            case nn.AvgPool2d() as pool:
                step = Pool(pool.kernel_size, pool.stride, pool.padding)  # type: ignore[arg-type]
            case target if target is F.avg_pool2d:
                step = Pool(*node.args[1:], **node.kwargs)  # type: ignore[arg-type]
            case target if target is F.relu:
                if conv:
                    conv.relu = True
                    return sources[0]
                step = Relu()
            case target if target is torch.cat:
                step = Cat()
            case target if target is operator.add:
                step = Add()
            case target:
                raise Unsupported(f"{node.op}: {target}")
        self.steps.append(step)
        self.sources.append(sources)
        return len(self.steps)

    def run(self, x: Tensor, keep: bool = True) -> Pass:
        """The scores; keep: whether the way back will be asked for."""
        values: dict[int, Tensor] = {0: x}
        kept: list[Any] = []
        shapes: list[list[Shape]] = []
        for place, (step, sources) in enumerate(zip(self.steps, self.sources, strict=True)):
            inputs = [values[source] for source in sources]
            values[place + 1], needed = step.run(inputs)
            if keep:
                kept.append(needed)
                shapes.append([each.shape for each in inputs])
            for source in set(sources):
                if self.last_use[source] == place:
                    del values[source]
        return Pass(values[len(self.steps)], kept, shapes)

    def pull(self, done: Pass, rows: Sequence[int], channels: Tensor, weights: Tensor) -> Tensor:
        """The linear map behind a weighted sum of the mean scores of a few classes, for some rows of the batch.

        channels, weights: (n, k), the classes and their weights. Returns (n, C, H, W).
        """
        everything = list(rows) == list(range(len(done.scores)))
        kept = done.kept if everything else [_of_rows(each, rows) for each in done.kept]
        last = self.steps[-1]
        if isinstance(last, Conv) and last.can_pull_rows:
            given = [last.pull_rows(channels, weights / _area(done.scores.shape), kept[-1])]
            return self._walk_back(given, kept, done.shapes)
        each = done.scores.new_zeros((len(rows), done.scores.shape[1])).scatter_add_(1, channels, weights)
        return self.pull_all(each, kept, done.shapes, done.scores.shape)

    def pull_all(self, weights: Tensor, kept: list[Any], shapes: list[list[Shape]], scores: Shape) -> Tensor:
        """The same with a weight for each class: weights (n, classes). kept, shapes, scores: of a pass over n rows; of
        the shapes all but the first number counts.
        """
        slope = (weights / _area(scores))[:, :, None, None].expand(-1, -1, *scores[2:])
        return self._walk_back(self.steps[-1].pull(slope, kept[-1], shapes[-1]), kept, shapes)

    def _walk_back(self, given: Sequence[Tensor], kept: list[Any], shapes: list[list[Shape]]) -> Tensor:
        """From the slopes of the last step's inputs to that of the network's."""
        slopes: dict[int, Tensor] = {}
        _accumulate(slopes, self.sources[-1], given)
        for place in range(len(self.steps) - 2, -1, -1):
            given = self.steps[place].pull(slopes.pop(place + 1), kept[place], shapes[place])
            _accumulate(slopes, self.sources[place], given)
        return slopes[0]


def _area(scores: Shape) -> int:
    """Places of the scores (N, classes, h, w)."""
    return scores[2] * scores[3]


def _of_rows(kept: Any, rows: Sequence[int]) -> Any:
    if isinstance(kept, tuple):
        return tuple(_of_rows(each, rows) for each in kept)
    return None if kept is None else kept[list(rows)]


def _accumulate(slopes: dict[int, Tensor], sources: Sequence[int], given: Sequence[Tensor]) -> None:
    for source, slope in zip(sources, given, strict=True):
        slopes[source] = slopes[source] + slope if source in slopes else slope
