"""Model folders with small networks, for tests that need many answers or many models rather than good ones."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from showcause.importing.toml import toml_value
from showcause.layers.bcos import UncentredNorm2d, add_inverse
from showcause.manifest import sha256_of
from showcause.nets import build
from showcause.nets.bcos import BcosNet
from showcause.nets.interpretable import InterpretableCnn
from showcause.nets.ordinary import OrdinaryNet


def calibrated(network: str, classes: int, size: int = 64, **options: object) -> BcosNet:
    """Random filters, and norms that keep the signal alive: without them a random B-cos network answers zeros."""
    torch.manual_seed(0)
    net = build(network, classes, options)
    return calibrate(net, size)


@torch.no_grad()
def calibrate(net: BcosNet, size: int) -> BcosNet:
    """Its norms have seen pictures, and keep what they saw."""
    for module in net.modules():
        if isinstance(module, UncentredNorm2d):
            module.momentum = 1.0
    dtype = next(net.parameters()).dtype
    net.train()(add_inverse(torch.rand(8, 3, size, size).to(dtype)))
    return net.eval().requires_grad_(False)


def lively(classes: int, learned: Sequence[int], **options: object) -> InterpretableCnn:
    """Random filters of a scale that keeps the signal alive; they have learned the classes ``learned`` in turn."""
    torch.manual_seed(0)
    net = build("interpretable_alexnet", classes, options)
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    torch.nn.init.normal_(net.head.last.weight)
    if net.parts.masked:
        net.parts.category[:] = torch.tensor(learned).repeat(len(net.parts.category))[: len(net.parts.category)]
    return net.eval().requires_grad_(False)


@torch.no_grad()
def lively_plain(network: str, classes: int, size: int = 64, **options: object) -> OrdinaryNet:
    """The same of an ordinary network; its norms have seen pictures."""
    torch.manual_seed(0)
    net = build(network, classes, options)
    for layer in net.module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    net.train().run(torch.rand(8, 3, size, size))
    return net.eval().requires_grad_(False)


def write_model(folder: Path, network: str = "bcos_resnet18", size: int = 64, **options: object) -> Path:
    """A model folder of a B-cos network of four classes, named like its folder."""
    return _write(folder, calibrated(network, 4, size, **options), network, "linear_map", size, "squash", options)


def write_parts_model(folder: Path, size: int = 128, preprocessing: str = "squash", **options: object) -> Path:
    """The same of an interpretable AlexNet with 24 filters; none has learned the fourth class, "west"."""
    options = {"filters": 24} | options
    net = lively(4, (0, 1, 2), **options)
    return _write(folder, net, "interpretable_alexnet", "filter_parts", size, preprocessing, options)


def write_plain_model(
    folder: Path,
    network: str = "plain_resnet18",
    methods: Sequence[str] = ("grad_cam",),
    size: int = 64,
    **options: object,
) -> Path:
    """The same of an ordinary network; random filters whose class scores differ widely from photo to photo."""
    net = lively_plain(network, 4, size, **options)
    *_, weight, bias = net.state_dict().values()  # of the last layer
    photos = torch.nn.functional.interpolate(torch.rand(16, 3, 6, 6), size=(size, size), mode="bilinear")
    weight *= 1.5 / net.run(photos).logits.std(0).mean()
    bias -= net.run(photos).logits.mean(0)
    return _write(folder, net, network, '", "'.join(methods), size, "squash", options)


def write_part_names(folder: Path, filters: Sequence[dict[str, object]], layer: str = "parts") -> None:
    (folder / "parts.json").write_text(json.dumps({"layer": layer, "filters": list(filters)}))


def part_name(number: int, name: str, **others: object) -> dict[str, object]:
    """An entry of parts.json for a filter of ``write_parts_model``."""
    category = ("north", "east", "south")[number % 3]
    return {
        "filter": number,
        "category": category,
        "name": name,
        "agreement": 0.8,
        "test_agreement": 0.7,
        "test_chance": 0.3,
    } | others


def _write(
    folder: Path,
    net: torch.nn.Module,
    network: str,
    method: str,
    size: int,
    preprocessing: str,
    options: dict[str, object],
) -> Path:
    folder.mkdir(parents=True)
    save_file(net.state_dict(), folder / "weights.safetensors")
    (folder / "labels.txt").write_text("north\neast\nsouth\nwest\n")
    lines = [
        f"{key} = {toml_value(list(value) if isinstance(value, tuple) else value)}" for key, value in options.items()
    ]
    (folder / "model.toml").write_text(
        f"""
name = "{folder.name}"
version = "1.0"
description = "random filters, for tests"
network = "{network}"
probability = "sigmoid"
methods = ["{method}"]
weights_sha256 = "{sha256_of(folder / "weights.safetensors")}"
[input]
width = {size}
height = {size}
preprocessing = "{preprocessing}"
[network_options]
"""
        + "\n".join(lines)
    )
    return folder
