"""Gradients of scores by an activation or by the input: what the gradient methods share.

Guided backpropagation changes the way back and nothing else, so it changes the autograd graph of its own pass: a hook
on each ReLU's node drops what is negative. Modules are shared between threads and stay as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from showcause.errors import FailedPrecondition, out_of_range
from showcause.methods.base import Ask, Model, rounds
from showcause.methods.targets import score
from showcause.nets.base import Forward
from showcause.reply import Neuron
from showcause.wishes import Wish, near

# As autograd names what ReLU, ReLU6 and their relatives do on the way back.
RELU_NODES = ("ReluBackward0", "HardtanhBackward0", "ThresholdBackward0", "ClampMinBackward0")


def input_gradients(forward: Forward, asks: Sequence[Ask], guided: bool = False) -> list[Tensor]:
    """d score / d input for each ask: (C, H, W), of the ask's own row; none is taken twice in a pass.

    guided: negative values are dropped at each ReLU on the way (Springenberg et al.: ICLR workshop 2015).
    """
    known = forward.slopes
    missing = [ask for ask in asks if (guided, ask.row, ask.target) not in known]
    for ask, slope in zip(missing, gradients(forward, missing, forward.x, guided), strict=True):
        known[guided, ask.row, ask.target] = slope
    return [known[guided, ask.row, ask.target] for ask in asks]


def gradients(
    forward: Forward,
    asks: Sequence[Ask],
    of: Tensor,
    guided: bool = False,
    reduced: Callable[[Tensor], Tensor] = lambda slope: slope,
) -> list[Tensor]:
    """d score / d ``of`` for each ask: (c, h, w), of the ask's own row; 0 where the score does not depend on it.

    One backward pass for the first target of every row, one for every second target, and so on. of: (N, c, h, w).
    reduced: what is kept of each; a whole one of an early layer is megabytes.
    """
    found: dict[int, Tensor] = {}
    for indices in rounds(asks):
        # Rows do not depend on each other: the gradient of the sum parts into them again.
        total = torch.stack([score(forward, asks[index].row, asks[index].target) for index in indices]).sum()
        slopes = None
        if total.requires_grad:
            with _without_negatives(total) if guided else nullcontext():
                # Other methods may need the same graph.
                (slopes,) = torch.autograd.grad(total, of, retain_graph=True, allow_unused=True)
        for index in indices:
            row = asks[index].row
            found[index] = reduced(torch.zeros_like(of[row]) if slopes is None else slopes[row])
    return [found[index] for index in range(len(asks))]


@contextmanager
def _without_negatives(total: Tensor) -> Iterator[None]:
    """Within it, the way back from ``total`` through a ReLU passes on what is above 0."""
    handles = [node.register_hook(_keep_positive) for node in _nodes(total) if node.name() in RELU_NODES]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def has_relu(forward: Forward) -> bool:
    """Whether there is a ReLU on the way back from the logits; without, guided backpropagation is the gradient."""
    return any(node.name() in RELU_NODES for node in _nodes(forward.evidence))


def _keep_positive(inwards: tuple[Tensor | None, ...], _: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    return tuple(slope if slope is None else slope.clamp_min(0) for slope in inwards)


def _nodes(total: Tensor) -> Iterator[Any]:
    """All nodes of the graph behind a tensor."""
    pending, seen = [total.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        pending += [before for before, _ in node.next_functions]


def settled_layer(layer: str, field: str, model: Model) -> str:
    """The layer to be read, the model's last grid where none is named; raises InvalidArgument naming near ones."""
    if layer and layer not in model.layers:
        raise out_of_range(field, layer, near(layer, tuple(model.layers)))
    return layer or model.last_grid


def refuse_neurons(wishes: Sequence[Wish], method: str) -> None:
    """Raises FailedPrecondition where a unit inside the network is to be explained, which ``method`` cannot."""
    for position, wish in enumerate(wishes):
        if isinstance(wish, Neuron):
            raise FailedPrecondition(
                "METHOD_NOT_AVAILABLE",
                f"{method} does not explain units inside the network",
                field=f"targets[{position}].neuron",
                value=str(wish),
                allowed="class_index, label, top_k or difference",
            )


def pooled_over_channels(values: Tensor) -> Any:
    """The largest absolute value over the channels (Simonyan et al., 2014, section 3.1): (C, H, W) -> (H, W) array."""
    return values.abs().amax(0).float().cpu().numpy()
