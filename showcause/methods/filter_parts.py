"""The parts that an interpretable CNN's filters found, and what each added to the score (Zhang, Wu, Zhu: CVPR 2018).

The head sees nothing but the masked maps of the last interpretable layer, so that

    contribution of filter k = sum over places of (d score / d map_k) * map_k

needs the head alone. Where that is linear in the maps its weights are the slopes, and the contributions sum to the
score minus its bias, exactly; the paper's fully connected head takes a backward pass, the contributions are a
first-order approximation, and what they miss is in the residual (``Manifest.kind_of`` says which).
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from showcause.errors import FailedPrecondition, out_of_range
from showcause.layers.interpretable import NO_CATEGORY
from showcause.methods.base import Ask, Attribution, Model, rounds
from showcause.methods.gradients import refuse_neurons
from showcause.methods.targets import bias, class_signs
from showcause.nets.base import Forward, Tape
from showcause.nets.interpretable import PARTS, InterpretableCnn
from showcause.nets.pooled import head_above
from showcause.outline import Located, bounds, grid_over, outlines
from showcause.reply import InputFrame, Part, Residual
from showcause.v1 import method_pb2
from showcause.wishes import Versus, Wish

DEFAULT_PARTS = 5
FloatArray = NDArray[np.floating]


def suits(model: Model) -> bool:
    """The ordinary twins, whose filters have learned no parts, are not explained by them."""
    return isinstance(model.net, InterpretableCnn) and model.net.parts.masked


def needs(_: method_pb2.Method, model: Model) -> Tape:
    return Tape(frozenset([PARTS]), "nowhere" if head_above(PARTS, model.pooled) else "layers")


def settle(method: method_pb2.Method, field: str, wishes: Sequence[Wish], model: Model) -> method_pb2.Method:
    """The parameters with their defaults.

    Raises InvalidArgument for a parameter that is out of range, and FailedPrecondition for a target that no filter can
    speak for: a neuron, or a class that is asked for by name and that no filter has learned.
    """
    sent, filters = method.filter_parts, len(_net(model).parts.category)
    count = sent.part_count if sent.HasField("part_count") else min(DEFAULT_PARTS, filters)
    if not 1 <= count <= filters:
        raise out_of_range(f"{field}.filter_parts.part_count", count, f"1 to {filters}, the number of filters")
    if not 0 <= sent.minimum_share <= 1:  # NaN is not between either
        raise out_of_range(f"{field}.filter_parts.minimum_share", sent.minimum_share, "0 to 1")
    _check_targets(wishes, model)
    settled = method_pb2.FilterParts(
        part_count=count, minimum_share=sent.minimum_share, include_negative=sent.include_negative
    )
    return method_pb2.Method(filter_parts=settled)


def _check_targets(wishes: Sequence[Wish], model: Model) -> None:
    refuse_neurons(wishes, "filter_parts")
    labels = model.manifest.labels
    learned = sorted(set(_net(model).parts.category.tolist()) - {NO_CATEGORY})
    for position, wish in enumerate(wishes):
        field = f"targets[{position}]"
        named: dict[str, int | None] = {}
        match wish:
            case Versus():
                named = {f"{field}.difference.target": wish.target, f"{field}.difference.versus": wish.versus}
            case int():
                named = {field: wish}
        for name, index in named.items():
            if index is not None and index not in learned:
                raise FailedPrecondition(
                    "METHOD_NOT_AVAILABLE",
                    f"no filter of model {model.manifest.name} has learned this class",
                    field=name,
                    value=labels[index],
                    allowed=", ".join(labels[each] for each in learned) or "top_k",
                )


def explain(forward: Forward, asks: Sequence[Ask], model: Model) -> list[Attribution]:
    """All first targets of the rows together, then all second ones, and so on."""
    found: dict[int, Attribution] = {}
    maps = forward.activations[PARTS]  # [N,K,n,n]
    field = _net(model).receptive_field
    flat, n = maps.detach().flatten(2).mT, maps.shape[-1]  # [N,n*n,K], as the maps lie in memory
    values, strongest = flat.float().cpu().numpy(), flat.amax(1).float().cpu().numpy()
    for indices in rounds(asks):
        wanted = torch.zeros_like(forward.evidence)
        for index in indices:
            for classes, sign in class_signs(asks[index].target).items():
                wanted[asks[index].row, classes] = sign
        scores = (forward.evidence.detach() * wanted).sum(1).tolist()
        by_place = _slopes(forward, wanted, model) * flat
        by_filter, by_map = by_place.sum(1).double().cpu().numpy(), by_place.sum(2).float().cpu().numpy()
        for index in indices:
            ask = asks[index]
            row, constant = ask.row, bias(forward, ask.target)
            found[index] = Attribution(
                map=by_map[row].reshape(n, n),
                evidence=(Residual(float(by_filter[row].sum()), constant, scores[row] + constant),),
                units=(field.center, field.jump),
                parts=partial(_locate, values[row], strongest[row], by_filter[row], ask.parameters.filter_parts, model),
            )
    return [found[index] for index in range(len(asks))]


def _slopes(forward: Forward, wanted: Tensor, model: Model) -> Tensor:
    """The gradient of weighted sums of logits by the masked maps, as these lie in memory: (N, n * n or 1, K).

    wanted: (N, classes), each row's weights. Under a full head this is one backward pass through it.
    """
    if head := head_above(PARTS, model.pooled):
        return (wanted @ head.weights)[:, None]
    (slopes,) = torch.autograd.grad(forward.evidence, forward.activations[PARTS], wanted, retain_graph=True)
    return slopes.flatten(2).mT


def chosen_filters(
    activations: FloatArray, contributions: FloatArray, parameters: method_pb2.FilterParts
) -> tuple[NDArray[np.intp], FloatArray]:
    """The filters to list, strongest first, and the shares of all; activations (the strongest of each), contributions:
    (K,). A filter that did not fire is no part, whatever is asked for."""
    total = np.abs(contributions).sum()
    shares = contributions / total if total > 0 else np.zeros_like(contributions)
    counts = contributions != 0 if parameters.include_negative else contributions > 0
    listed = np.flatnonzero(counts & (activations > 0) & (np.abs(shares) >= parameters.minimum_share))
    strongest = np.argsort(-np.abs(contributions[listed]), kind="stable")[: parameters.part_count]
    return listed[strongest], shares


def _locate(
    values: FloatArray,
    activations: FloatArray,
    contributions: FloatArray,
    parameters: method_pb2.FilterParts,
    model: Model,
    frame: InputFrame,
) -> list[Located]:
    """The parts of one photo; values: (n * n, K), the masked maps; activations, contributions: (K,)."""
    filters, shares = chosen_filters(activations, contributions, parameters)
    if not len(filters):
        return []
    net, n = _net(model), math.isqrt(len(values))
    maps = values[:, filters].T.reshape(-1, n, n)
    field = net.receptive_field
    grid = grid_over(frame, field.center, field.jump, n)
    categories = net.parts.category.tolist()
    found = []
    for number, own, lines in zip(filters.tolist(), maps, outlines(maps, grid), strict=True):
        row, column = divmod(int(own.argmax()), n)
        center, category = grid.place(row, column), categories[number]
        named = model.part_names.get(number)
        part = Part(
            filter=number,
            layer=PARTS,
            category="" if category == NO_CATEGORY else model.manifest.labels[category],
            name=named.name if named else "",
            name_agreement=named.test_agreement if named and named.name else 0.0,
            name_chance=named.test_chance if named and named.name else 0.0,
            center=center,
            box=bounds(lines, center),
            outlines=lines,
            activation=float(activations[number]),
            contribution=float(contributions[number]),
            share=float(shares[number]),
        )
        found.append(Located(part, own, grid))
    return found


def _net(model: Model) -> InterpretableCnn:
    """The model's network; ``suits`` was asked when it was loaded."""
    if not isinstance(model.net, InterpretableCnn):
        raise TypeError(f"filter_parts of a {type(model.net).__name__}")
    return model.net
