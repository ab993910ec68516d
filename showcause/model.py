"""A model folder -> a loaded model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from showcause.manifest import Manifest, ManifestError, read_manifest
from showcause.methods import METHODS
from showcause.nets import build
from showcause.nets.base import layer_shapes
from showcause.nets.bcos import BcosNet

MOST_LISTED = 20  # tensors of each kind that an error names


@dataclass(frozen=True)
class Model:
    """A network in eval mode with frozen parameters, and what its folder says of it. Shared between threads.

    layers: (channels, height, width) of each layer whose output is a grid, by name.
    """

    manifest: Manifest
    net: BcosNet
    device: torch.device
    layers: Mapping[str, tuple[int, int, int]]


def load(folder: Path, device: str = "cpu") -> Model:
    """Builds the network, checks the weights' digest and keys, loads them as float32.

    Raises ManifestError for a folder that cannot be served, saying what differs.
    """
    manifest = read_manifest(folder)
    missing = [name for name in manifest.methods if name not in METHODS]
    if missing:
        raise ManifestError(f"{folder}/model.toml: methods names {missing[0]}; allowed: {', '.join(METHODS)}")
    try:
        net = build(manifest.network, len(manifest.labels), manifest.network_options)
    except ValueError as error:
        raise ManifestError(f"{folder}/model.toml: {error}") from error
    manifest.check_weights()
    try:
        weights = load_file(manifest.weights_path)
    except SafetensorError as error:
        raise ManifestError(f"{manifest.weights_path} is no safetensors file: {error}") from error
    if differing := misfit(net, weights):
        raise ManifestError(f"{manifest.weights_path} does not fit network {manifest.network}: {differing}")
    net.load_state_dict(weights)
    net.eval().requires_grad_(False)
    net.to(device, torch.float32)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = manifest.input.height, manifest.input.width
    try:
        layers = layer_shapes(net, torch.zeros(1, 3, *size, device=device))
    except RuntimeError as error:
        raise ManifestError(
            f"{folder}: network {manifest.network} cannot run on an input of {size}: {error}"
        ) from error
    return Model(manifest, net, torch.device(device), layers)


def served_precision(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict as it is stored: filters in float16; norms, whose variances have no bounded range, in float32."""
    state = net.cpu().state_dict()
    return {key: (value.half() if value.ndim == 4 else value).contiguous() for key, value in state.items()}


def misfit(net: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> str:
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
