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
    _check_keys(manifest, net, weights)
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


def _check_keys(manifest: Manifest, net: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    wanted = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    differing = [
        f"{key}: {found.get(key, 'missing')} instead of {wanted.get(key, 'nothing')}"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key) != found.get(key)
    ]
    if differing:
        shown = "\n  ".join(differing[:20]) + (f"\n  and {len(differing) - 20} more" if len(differing) > 20 else "")
        raise ManifestError(f"{manifest.weights_path} does not fit network {manifest.network}:\n  {shown}")
