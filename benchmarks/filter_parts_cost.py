"""Filter parts / predict, of a model that has parts."""

from collections.abc import Callable
from pathlib import Path

import torch
from turns import Times, jpeg, ratio, take_turns

from showcause.client.calls import explain_request, predict_request
from showcause.methods import Ask, filter_parts
from showcause.model import load
from showcause.reply import ClassTarget
from showcause.v1 import method_pb2
from showcause.worker import Call, explain


def filter_parts_cost(folder: Path, most: int, rounds: int) -> tuple[list[tuple[str, dict[str, float]]], Times]:
    """What filter parts cost beside a prediction of the same network: from tensors, and the worker's whole path from
    JPEG bytes, where their outlines are traced, too. Pictures are a contestant of their own. most: the larger batch."""
    model = load(folder)
    spec, photo = model.manifest.input, jpeg()
    torch.manual_seed(1)
    batch = torch.rand(most, 3, spec.height, spec.width).contiguous(memory_format=torch.channels_last)
    settled = filter_parts.settle(method_pb2.Method(), "", (), model)
    messages = {
        "predict": ("predict", predict_request(photo)),
        "filter parts": ("explain", explain_request(photo, methods="filter_parts", map_dtype=None)),
        "filter parts + overlay": (
            "explain",
            explain_request(photo, methods="filter_parts", map_dtype=None, pictures=["overlay"]),
        ),
    }
    calls = {name: Call(operation, message.SerializeToString()) for name, (operation, message) in messages.items()}

    def from_tensors(x: torch.Tensor) -> None:
        forward = model.net.run(x, filter_parts.needs(settled, model))
        targets = [ClassTarget(index, "") for index in forward.logits.argmax(1).tolist()]
        filter_parts.explain(forward, [Ask(row, target, settled) for row, target in enumerate(targets)], model)

    contestants: dict[str, Callable[[], object]] = {}
    for size in (1, most):
        x = batch[:size]
        contestants |= {
            f"{model.manifest.name}: predict from tensors, {size}": lambda x=x: model.net.run(x),
            f"{model.manifest.name}: filter parts from tensors, {size}": lambda x=x: from_tensors(x),
        }
        contestants |= {
            f"{model.manifest.name}: {name} from JPEG, {size}": lambda c=call, n=size: explain(model, [c] * n)
            for name, call in calls.items()
        }
    times = take_turns(contestants, rounds, model.manifest.name)
    rows = [
        (f"{name} / predict, {model.manifest.name} from {source}, batch {size}",
         ratio(times, f"{model.manifest.name}: {name} from {source}, {size}",
               f"{model.manifest.name}: predict from {source}, {size}"))
        for source, name in (("tensors", "filter parts"), ("JPEG", "filter parts"), ("JPEG", "filter parts + overlay"))
        for size in (1, most)
    ]  # fmt: skip
    return rows, times
