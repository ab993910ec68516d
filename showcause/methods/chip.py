"""CHIP, Refined CHIP and Guided CHIP (Cui, Wang, Wang: arXiv 1902.02497), from weights distilled beforehand.

The map is the sum of a layer's channels, each times its distilled weight for the class (Eq. 10); it needs no gradient.
``showcause train chip`` distils; what a model has is in ``Model.chip``.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from showcause.channels import LayerWeights, check_class, command, distilled_layer
from showcause.errors import FailedPrecondition, out_of_range
from showcause.methods.base import Ask, Attribution, Model
from showcause.methods.grad_cam import enlarged
from showcause.methods.gradients import input_gradients, pooled_over_channels, refuse_neurons
from showcause.methods.targets import class_signs
from showcause.nets.base import Forward, Tape
from showcause.reply import Target
from showcause.v1 import method_pb2
from showcause.wishes import TopK, Versus, Wish, listed, near


def suits(model: Model) -> bool:
    """Any network with a grid can be distilled; what was not is told to who asks for it."""
    return bool(model.last_grid)


def suits_guided(model: Model) -> bool:
    return suits(model) and model.rectified


def settle(method: method_pb2.Method, field: str, wishes: Sequence[Wish], model: Model) -> method_pb2.Method:
    """The parameters with their defaults.

    Raises InvalidArgument for a layer that the network does not have, and FailedPrecondition for a layer or a class
    that was not distilled, with the command that would.
    """
    layer = _settled(method.chip.layer, f"{field}.chip.layer", "chip", wishes, model)
    return method_pb2.Method(chip=method_pb2.Chip(layer=layer))


def needs(method: method_pb2.Method, _: Model) -> Tape:
    return Tape(frozenset([method.chip.layer]))


def explain(forward: Forward, asks: Sequence[Ask], model: Model) -> list[Attribution]:
    maps = [_map_of(forward, ask, model.chip[ask.parameters.chip.layer]) for ask in asks]
    return [Attribution(found.float().cpu().numpy()) for found in maps]


def settle_refined(method: method_pb2.Method, field: str, wishes: Sequence[Wish], model: Model) -> method_pb2.Method:
    """There are no parameters; two layers must have been distilled, each for the classes that are meant."""
    refuse_neurons(wishes, "refined_chip")
    if len(model.chip) < 2:
        raise FailedPrecondition(
            "METHOD_NOT_AVAILABLE",
            f"refined_chip needs two distilled layers, and model {model.manifest.name} has {len(model.chip)}",
            field=f"{field}.refined_chip",
            value=", ".join(model.chip) or "none",
            allowed=f"after {command(model.manifest, 'FIRST,LAST')}",
        )
    for layer in _first_and_last(model):
        _check_targets(wishes, layer, model)
    return method


def needs_refined(_: method_pb2.Method, model: Model) -> Tape:
    return Tape(frozenset(layer.layer for layer in _first_and_last(model)))


def explain_refined(forward: Forward, asks: Sequence[Ask], model: Model) -> list[Attribution]:
    """The product of the first and the last layer's maps at the size of the first; each is clamped before, since the
    product of two negative values would speak for the target."""
    found = []
    for ask in asks:
        first, last = (_map_of(forward, ask, layer).clamp_min(0) for layer in _first_and_last(model))
        found.append(Attribution((first * enlarged(last, first)).float().cpu().numpy()))
    return found


def settle_guided(method: method_pb2.Method, field: str, wishes: Sequence[Wish], model: Model) -> method_pb2.Method:
    """As ``settle``."""
    layer = _settled(method.guided_chip.layer, f"{field}.guided_chip.layer", "guided_chip", wishes, model)
    return method_pb2.Method(guided_chip=method_pb2.GuidedChip(layer=layer))


def needs_guided(method: method_pb2.Method, _: Model) -> Tape:
    return Tape(frozenset([method.guided_chip.layer]), "input")


def explain_guided(forward: Forward, asks: Sequence[Ask], model: Model) -> list[Attribution]:
    """The map without its negative values, at the size of the input, times guided backpropagation."""
    slopes = input_gradients(forward, asks, guided=True)
    found = []
    for ask, slope in zip(asks, slopes, strict=True):
        own = _map_of(forward, ask, model.chip[ask.parameters.guided_chip.layer]).clamp_min(0)
        found.append(Attribution(pooled_over_channels(enlarged(own, slope) * slope)))
    return found


def _map_of(forward: Forward, ask: Ask, layer: LayerWeights) -> Tensor:
    """Eq. 10 for one ask: (h, w)."""
    maps = forward.activations[layer.layer][ask.row].detach()
    return torch.einsum("k,khw->hw", torch.from_numpy(_weights(layer, ask.target)).to(maps), maps)


def _weights(layer: LayerWeights, target: Target) -> np.ndarray:
    """A class's weights, or the difference of two classes': (channels,)."""
    return np.sum([sign * layer.of(index) for index, sign in class_signs(target).items()], axis=0)


def _first_and_last(model: Model) -> tuple[LayerWeights, LayerWeights]:
    layers = list(model.chip.values())
    return layers[0], layers[-1]


def _settled(layer: str, field: str, method: str, wishes: Sequence[Wish], model: Model) -> str:
    refuse_neurons(wishes, method)
    if layer and layer not in model.layers:
        raise out_of_range(field, layer, near(layer, tuple(model.layers)))
    found = distilled_layer(model.chip, layer, field, model.manifest)
    _check_targets(wishes, found, model)
    return found.layer


def _check_targets(wishes: Sequence[Wish], layer: LayerWeights, model: Model) -> None:
    """Raises FailedPrecondition for a class that was not distilled, and, unless all were, for what only the forward
    pass can tell, because that might be one that was not."""
    labels = model.manifest.labels
    for position, wish in enumerate(wishes):
        field = f"targets[{position}]"
        named: dict[str, int | None] = {}
        match wish:
            case Versus():
                named = {f"{field}.difference.target": wish.target, f"{field}.difference.versus": wish.versus}
            case TopK():
                named = {f"{field}.top_k": None}
            case int():
                named = {field: wish}
        for name, index in named.items():
            if index is not None:
                check_class(layer, index, name, model.manifest)
            elif len(layer.classes) < len(labels):
                known = listed(tuple(labels[each] for each in layer.classes), 10)
                raise FailedPrecondition(
                    "METHOD_NOT_AVAILABLE",
                    f"not all classes were distilled for layer {layer.layer} of model {model.manifest.name}, and the "
                    "strongest may be one that was not",
                    field=name,
                    value="the strongest",
                    allowed=f"{known}; {command(model.manifest, layer.layer)} distils all that DIR has photos of",
                )
