"""A model folder -> a loaded model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from showcause.layers.interpretable import NO_CATEGORY
from showcause.manifest import Manifest, ManifestError, read_manifest
from showcause.methods import METHODS
from showcause.nets import build
from showcause.nets.base import Net, layer_shapes
from showcause.nets.interpretable import PARTS, InterpretableCnn
from showcause.part_names import PartName, read_part_names

MOST_LISTED = 20  # tensors of each kind that an error names


@dataclass(frozen=True)
class Model:
    """A network in eval mode with frozen parameters, and what its folder says of it. Shared between threads.

    layers: (channels, height, width) of each layer whose output is a grid, by name. part_names: of an interpretable
    network's filters, by their numbers.
    """

    manifest: Manifest
    net: Net
    device: torch.device
    layers: Mapping[str, tuple[int, int, int]]
    part_names: Mapping[int, PartName]


def load(folder: Path, device: str = "cpu") -> Model:
    """Builds the network, checks the weights' digest and keys, loads them as float32.

    Raises ManifestError for a folder that cannot be served, saying what differs.
    """
    manifest = read_manifest(folder)
    net = untrained(manifest)
    suiting = [name for name, row in METHODS.items() if row.suits(net)]
    if missing := [name for name in manifest.methods if name not in suiting]:
        allowed = ", ".join(suiting) or "none: this network, with its options, is explained by no method"
        raise ManifestError(f"{folder}/model.toml: methods names {missing[0]}; allowed: {allowed}")
    fill(net, manifest)
    net.to(device, torch.float32)
    net.to(memory_format=torch.channels_last)
    size = manifest.input.height, manifest.input.width
    try:
        layers = layer_shapes(net, torch.zeros(1, 3, *size, device=device))
    except (RuntimeError, ValueError) as error:
        raise ManifestError(
            f"{folder}: network {manifest.network} cannot run on an input of {size}: {error}"
        ) from error
    return Model(manifest, net, torch.device(device), layers, part_names_of(manifest, net))


def untrained(manifest: Manifest) -> Net:
    """The network that a manifest describes; raises ManifestError where there is none such."""
    try:
        return build(manifest.network, len(manifest.labels), manifest.network_options)
    except ValueError as error:
        raise ManifestError(f"{manifest.folder}/model.toml: {error}") from error


def fill(net: Net, manifest: Manifest) -> None:
    """Loads the weights, digest and keys checked, and freezes the network; raises ManifestError saying what differs."""
    manifest.check_weights()
    try:
        weights = load_file(manifest.weights_path)
    except SafetensorError as error:
        raise ManifestError(f"{manifest.weights_path} is no safetensors file: {error}") from error
    if differing := misfit(net, weights):
        raise ManifestError(f"{manifest.weights_path} does not fit network {manifest.network}: {differing}")
    net.load_state_dict(weights)
    net.eval().requires_grad_(False)


def part_names_of(manifest: Manifest, net: Net) -> Mapping[int, PartName]:
    """From parts.json; raises ManifestError where it does not fit the network."""
    path = manifest.parts_path
    if not (isinstance(net, InterpretableCnn) and net.parts.masked):
        if path.exists():
            raise ManifestError(f"{path}: network {manifest.network}, with its options, has no parts to be named")
        return {}
    if not NO_CATEGORY <= int(net.parts.category.min()) <= int(net.parts.category.max()) < len(manifest.labels):
        raise ManifestError(f"{manifest.weights_path}: parts.category names a class that labels.txt does not have")
    names = read_part_names(path, PARTS, len(net.parts.category), manifest.labels)
    for number, named in names.items():
        learned = int(net.parts.category[number])
        label = manifest.labels[learned] if learned != NO_CATEGORY else "none"
        if named.category != label:
            raise ManifestError(
                f"{path}: filter {number} is of category {named.category!r}; allowed: {label!r}, which it has learned"
            )
    return names


def served_precision(net: Net) -> dict[str, torch.Tensor]:
    """The state dict as it is stored: filters in float16; norms, whose variances have no bounded range, in float32."""
    state = net.cpu().state_dict()
    return {key: (value.half() if value.ndim == 4 else value).contiguous() for key, value in state.items()}


def misfit(net: Net, weights: Mapping[str, torch.Tensor]) -> str:
    """What keeps ``weights`` from being a state dict of ``net``, counted and listed; "" where nothing does."""
    wanted = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    differing = {
        "missing": [key for key in wanted if key not in found],
        "not expected": [key for key in found if key not in wanted],
        "of another shape": [key for key in wanted if key in found and found[key] != wanted[key]],
    }
    lines = [", ".join(f"{len(keys)} {kind}" for kind, keys in differing.items() if keys)]
    for kind, keys in differing.items():
        lines += [
            f"{key}: {found.get(key, 'missing')} instead of {wanted.get(key, 'nothing')}" for key in keys[:MOST_LISTED]
        ]
        if len(keys) > MOST_LISTED:
            lines.append(f"and {len(keys) - MOST_LISTED} more {kind}")
    return "\n  ".join(lines)


def layers_of(manifest: Manifest) -> Mapping[str, tuple[int, int, int]]:
    """``Model.layers`` without the weights: sizes alone are computed. Raises ManifestError where they cannot be."""
    try:
        with torch.device("meta"):
            net = build(manifest.network, len(manifest.labels), manifest.network_options).eval()
            return layer_shapes(net, torch.empty(1, 3, manifest.input.height, manifest.input.width))
    except (ValueError, RuntimeError) as error:
        raise ManifestError(f"{manifest.folder}/model.toml: {error}") from error
