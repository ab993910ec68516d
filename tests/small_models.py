"""Model folders with small networks, for tests that need many answers or many models rather than good ones."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from showcause.layers.bcos import UncentredNorm2d, add_inverse
from showcause.manifest import sha256_of
from showcause.nets import build
from showcause.nets.bcos import BcosNet


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


def write_model(folder: Path, network: str = "bcos_resnet18", size: int = 64, **options: object) -> Path:
    """A model folder of four classes, named like its folder."""
    folder.mkdir(parents=True)
    save_file(calibrated(network, 4, size, **options).state_dict(), folder / "weights.safetensors")
    (folder / "labels.txt").write_text("north\neast\nsouth\nwest\n")
    lines = [f"{key} = {list(value) if isinstance(value, tuple) else value}" for key, value in options.items()]
    (folder / "model.toml").write_text(
        f"""
name = "{folder.name}"
version = "1.0"
description = "random filters, for tests"
network = "{network}"
probability = "sigmoid"
methods = ["linear_map"]
weights_sha256 = "{sha256_of(folder / "weights.safetensors")}"
[input]
width = {size}
height = {size}
preprocessing = "squash"
[network_options]
"""
        + "\n".join(lines)
    )
    return folder
