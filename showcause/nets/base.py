"""What every served network is to the methods: one forward pass, and layers that can be read by name."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]
TORCH = ("torch", torch.__version__)


@dataclass(frozen=True)
class Tape:
    """What a forward pass is to keep.

    layers: names of those whose activations are wanted. start: where the autograd graph begins. "nowhere": no graph;
    "layers": at the first of ``layers`` that runs, so that all below it costs nothing more; "input": at the encoded
    input. hold: whether the factors of B-cos layers are held, so that gradients are linear maps; other networks have
    none. edits: what the named layers' outputs are replaced by.
    """

    layers: frozenset[str] = frozenset()
    start: str = "nowhere"
    hold: bool = False
    edits: Mapping[str, Edit] = field(default_factory=dict)

    def __or__(self, other: "Tape") -> "Tape":
        """One pass for both; they hold alike."""
        start = max(self.start, other.start, key=STARTS.index)
        return Tape(self.layers | other.layers, start, self.hold, {**self.edits, **other.edits})


STARTS = ("nowhere", "layers", "input")


def merged(tapes: Iterable[Tape]) -> list[Tape]:
    """One tape for all that hold B-cos factors, and one for all that do not."""
    found: dict[bool, Tape] = {}
    for tape in tapes:
        found[tape.hold] = found[tape.hold] | tape if tape.hold in found else tape
    return list(found.values())


@dataclass(frozen=True)
class Forward:
    """One forward pass over a batch.

    x: the encoded input (N, C, H, W). evidence: (N, classes), the logits without their bias, with the autograd graph if
    the tape asked for one. logits: (N, classes), detached. bias: (classes,), detached, what is in each logit besides.
    activations: (N, c, h, w) of the layers that were asked for, in the order in which they ran, with the graph too.
    slopes: gradients by the input that methods have taken, for those that need the same ones.
    pull: of a pass that holds and has no graph: the linear maps (n, C, H, W) behind sums of class scores, for n rows of
    the batch; each sum as the weights of its classes. runtime: name and version of what computed it.
    """

    x: Tensor
    evidence: Tensor
    logits: Tensor
    bias: Tensor
    activations: Mapping[str, Tensor] = field(default_factory=dict)
    slopes: dict[Hashable, Tensor] = field(default_factory=dict)
    pull: Callable[[Sequence[int], Sequence[Mapping[int, float]]], Tensor] | None = None
    runtime: tuple[str, str] = TORCH


class Passes(Protocol):
    """What takes photos through a network."""

    def run(self, rgb: Tensor, tape: Tape = Tape()) -> Forward:
        """One forward pass; rgb: (N, 3, H, W) in 0..1."""
        ...


class Net(Passes, Protocol):
    """A network as the worker runs it."""

    classes: int

    def encoded(self, rgb: Tensor) -> Tensor:
        """Photos as the network takes them: (N, 3, H, W) in 0..1 -> (N, C, H, W)."""
        ...

    def evidence(self, x: Tensor) -> Tensor:
        """Encoded photos -> the logits without their bias, (N, classes)."""
        ...

    def named_modules(self) -> Iterable[tuple[str, nn.Module]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...
    def to(self, *args: Any, **kwargs: Any) -> Self: ...
    def cpu(self) -> Self: ...


@dataclass(frozen=True)
class _Pass:
    """The pass that runs now in this thread: its tape, and the outputs of the named layers so far."""

    tape: Tape
    noted: dict[str, Tensor]


# A context variable, because networks are shared between threads: the hooks that read it are set once, when the network
# is built, and no call changes the network.
_PASS: ContextVar[_Pass | None] = ContextVar("pass", default=None)


def name_layers(net: Net) -> None:
    """Makes the layers of ``net`` readable by their names. Called once, by ``showcause.nets.build``."""
    for name, module in net.named_modules():
        if name:
            module.register_forward_hook(partial(_note, name))


def _note(name: str, _: nn.Module, __: object, output: object) -> Tensor | None:
    """The hook of every layer. What it returns, unless None, is the layer's output from there on."""
    running = _PASS.get()
    if running is None or not isinstance(output, Tensor):
        return None
    tape, out = running.tape, output
    if edit := tape.edits.get(name):
        out = edit(out)
    if name in tape.layers:
        if tape.start != "nowhere" and not out.requires_grad:
            torch.set_grad_enabled(True)  # until the end of ``recording``
            out = out.detach().requires_grad_()
        running.noted.pop(name, None)  # a module that runs twice stands where it ran last
        running.noted[name] = out
        out = out.clone()  # what follows may work in place, which must not change what was noted
    return None if out is output else out


@contextmanager
def recording(tape: Tape) -> Iterator[dict[str, Tensor]]:
    """Within it, a pass of a network notes the outputs of the tape's layers, in the order in which they run; gradients
    are on from where the tape says. Those that never run are missing.
    """
    noted: dict[str, Tensor] = {}
    token = _PASS.set(_Pass(tape, noted))
    try:
        with torch.inference_mode(False), torch.set_grad_enabled(tape.start == "input"):
            yield noted
    finally:
        _PASS.reset(token)


def layer_shapes(net: Net, rgb: Tensor) -> dict[str, tuple[int, int, int]]:
    """(channels, height, width) of every layer whose output is a grid, in the order in which they run; from a pass over
    ``rgb`` (1, 3, H, W).
    """
    noted = net.run(rgb, Tape(frozenset(name for name, _ in net.named_modules()))).activations
    grids = {name: output.shape for name, output in noted.items() if output.ndim == 4}
    return {name: (shape[1], shape[2], shape[3]) for name, shape in grids.items()}
