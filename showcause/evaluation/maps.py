"""A model's methods over pictures: maps and logits for the measures. The only part of those that needs torch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from showcause.methods import METHODS, Ask, Attribution
from showcause.model import Model
from showcause.nets.base import Tape, merged
from showcause.reply import ClassTarget
from showcause.v1 import method_pb2

Floats = NDArray[np.floating]

MEAN_ACTIVATION = "mean_activation"  # the control that knows no class: the last grid, averaged over its channels


def settled(model: Model, names: Sequence[str]) -> dict[str, method_pb2.Method]:
    """The methods with the defaults of their parameters."""
    found = {}
    for name in names:
        method = method_pb2.Method()
        getattr(method, name).SetInParent()
        found[name] = METHODS[name].settle(method, name, (), model)
    return found


def maps_of(
    model: Model, rgb: torch.Tensor, labels: Sequence[Sequence[int]], methods: Mapping[str, method_pb2.Method]
) -> tuple[Floats, list[dict[str, Attribution]]]:
    """Logits (N, C), and for each row and each of its classes, one after the other, the maps by method.

    rgb: (N, 3, h, w) in 0..1. The control ``MEAN_ACTIVATION`` is among them.
    """
    needed = [Tape(frozenset([model.last_grid])), *(METHODS[name].needs(one, model) for name, one in methods.items())]
    passes = {tape.hold: model.net.run(rgb.to(model.device), tape) for tape in merged(needed)}
    places = [(row, label) for row, some in enumerate(labels) for label in some]
    found: list[dict[str, Attribution]] = [{} for _ in places]
    for name, method in methods.items():
        asks = [Ask(row, ClassTarget(label, ""), method) for row, label in places]
        forward = passes[METHODS[name].needs(method, model).hold]
        for one, attribution in zip(found, METHODS[name].explain(forward, asks, model), strict=True):
            one[name] = attribution
    control = passes[False].activations[model.last_grid].detach().mean(1).float().cpu().numpy()
    for one, (row, _) in zip(found, places, strict=True):
        one[MEAN_ACTIVATION] = Attribution(control[row])
    return passes[False].logits.float().cpu().numpy(), found


def probabilities(logits: Floats, kind: str) -> Floats:
    """Of logits (..., C); kind: "softmax" or "sigmoid"."""
    values = torch.from_numpy(np.asarray(logits)).double()
    return (values.sigmoid() if kind == "sigmoid" else values.softmax(-1)).numpy()
