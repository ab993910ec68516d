"""What every served network is to the methods: one forward pass, and layers that can be read by name."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

# Outputs of the layers that this pass is asked for. A context variable, because networks are shared between threads:
# the hooks that fill it are set once, when the network is built, and no call changes the network.
_READING: ContextVar[dict[str, Tensor] | None] = ContextVar("reading", default=None)


@dataclass(frozen=True)
class Forward:
    """One forward pass over a batch.

    x: the encoded input (N, C, H, W). evidence: (N, classes), the logits without their bias, with the autograd graph
    if the pass was made to be explained. logits: (N, classes), detached. bias: (classes,), detached, what is in each
    logit besides. activations: (N, c, h, w) of the layers that were asked for, with the graph too.
    """

    x: Tensor
    evidence: Tensor
    logits: Tensor
    bias: Tensor
    activations: Mapping[str, Tensor] = field(default_factory=dict)


class Net(Protocol):
    """A network as the worker runs it: an ``nn.Module`` with ``run``. (Python has no type for both.)"""

    classes: int

    def run(self, rgb: Tensor, explain: bool, layers: Iterable[str] = ()) -> Forward:
        """One forward pass; rgb: (N, 3, H, W) in 0..1. layers: names of those whose activations are wanted."""
        ...

    def named_modules(self) -> Iterable[tuple[str, nn.Module]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...
    def to(self, *args: Any, **kwargs: Any) -> Self: ...
    def cpu(self) -> Self: ...


def name_layers(net: Net) -> None:
    """Makes the layers of ``net`` readable by their names. Called once, by ``showcause.nets.build``."""

    def note(name: str, _: nn.Module, __: object, output: object) -> None:
        reading = _READING.get()
        if reading is not None and name in reading and isinstance(output, Tensor):
            reading[name] = output

    for name, module in net.named_modules():
        if name:
            module.register_forward_hook(partial(note, name))


@contextmanager
def reading(names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Within it, a pass of a network notes the outputs of the named layers; empty tensors for those that never ran."""
    noted = dict.fromkeys(names, torch.empty(0))
    token = _READING.set(noted)
    try:
        yield noted
    finally:
        _READING.reset(token)


def layer_shapes(net: Net, rgb: Tensor) -> dict[str, tuple[int, int, int]]:
    """(channels, height, width) of every layer whose output is a grid, from a pass over ``rgb`` (1, 3, H, W)."""
    noted = net.run(rgb, False, [name for name, _ in net.named_modules()]).activations
    grids = {name: output.shape for name, output in noted.items() if output.ndim == 4}
    return {name: (shape[1], shape[2], shape[3]) for name, shape in grids.items()}
