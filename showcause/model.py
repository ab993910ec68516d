"""A model folder -> a loaded model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from showcause.channels import Distilled, check_layers, read_distilled
from showcause.layers.interpretable import NO_CATEGORY
from showcause.manifest import GRAPH, Manifest, ManifestError, read_manifest
from showcause.map_scores import MapScores, read_map_scores
from showcause.methods import METHODS
from showcause.methods.gradients import has_relu
from showcause.nets import blank, build, outline
from showcause.nets.base import Net, Passes, Tape, layer_shapes
from showcause.nets.bcos import BcosNet
from showcause.nets.interpretable import PARTS, InterpretableCnn
from showcause.nets.pooled import PooledHead, last_grid, pooled_head
from showcause.part_names import PartName, read_part_names

MOST_LISTED = 20  # tensors of each kind that an error names


@dataclass(frozen=True)
class Model:
    """A network in eval mode with frozen parameters, and what its folder says of it. Shared between threads.

    layers: (channels, height, width) of each layer whose output is a grid, by name, in the order in which they run.
    last_grid: the one that maps are made of unless another is named. pooled: the head above it, if that is pooling and
    a linear layer. rectified: whether it has a ReLU. part_names: of an interpretable network's filters, by their
    numbers. map_scores: of the methods whose maps were measured. chip: the weights that CHIP distilled, by layer.
    passes: what takes a batch through the network: itself, or ONNX Runtime.
    """

    manifest: Manifest
    net: Net
    device: torch.device
    layers: Mapping[str, tuple[int, int, int]]
    last_grid: str
    pooled: PooledHead | None
    rectified: bool
    part_names: Mapping[int, PartName]
    chip: Distilled
    map_scores: Mapping[str, MapScores]
    passes: Passes


def load(folder: Path, device: str = "cpu", with_chip: bool = True, packed: bool = False) -> Model:
    """Builds the network, checks the weights' digest and keys, loads them as float32.

    with_chip: whether what CHIP distilled is read; who distils anew has no use for it, and it may be of other weights.
    packed: whether the folder is an archive of ours, whose graphs for ONNX Runtime are run, if it has some; those of a
    model folder are nobody's.
    Raises ManifestError for a folder that cannot be served, saying what differs.
    """
    manifest = read_manifest(folder)
    net = untrained(manifest)
    fill(net, manifest)
    net.to(device, torch.float32)
    net.to(memory_format=torch.channels_last)
    size = manifest.input.height, manifest.input.width
    try:
        empty = torch.zeros(1, 3, *size, device=device)
        layers = layer_shapes(net, empty)
        last = last_grid(net, layers)
        pooled = pooled_head(net, last, empty) if last else None
        rectified = has_relu(net.run(empty, Tape(start="input")))
    except Exception as error:  # whatever an operator's own network raises
        reason = f"{type(error).__name__}: {error}"
        raise ManifestError(
            f"{folder}: network {manifest.network} cannot run on an input of {size}: {reason}"
        ) from error
    if isinstance(net, BcosNet):
        net.prepare()
    chip = read_distilled(manifest) if with_chip else {}
    check_layers(manifest, chip, layers)
    model = Model(
        manifest=manifest,
        net=net,
        device=torch.device(device),
        layers=layers,
        last_grid=last,
        pooled=pooled,
        rectified=rectified,
        part_names=part_names_of(manifest, net),
        chip=chip,
        map_scores=read_map_scores(manifest.maps_path),
        passes=_passes(net, manifest, torch.device(device)) if packed else net,
    )
    suiting = [name for name, row in METHODS.items() if row.suits(model)]
    if missing := [name for name in manifest.methods if name not in suiting]:
        raise ManifestError(f"{folder}/model.toml: methods names {missing[0]}; allowed: {', '.join(suiting)}")
    return model


def _passes(net: Net, manifest: Manifest, device: torch.device) -> Passes:
    """ONNX Runtime where the folder was packed for it (``showcause.exporting``), otherwise the network itself."""
    if not (manifest.folder / GRAPH).exists():
        return net
    try:
        from showcause.nets.onnx_passes import OnnxPasses
    except ModuleNotFoundError as error:
        raise ManifestError(
            f"{manifest.folder} was packed for ONNX Runtime: {error}; pip install 'showcause[onnxruntime]', or "
            "'showcause[onnxruntime-gpu]' where there is a GPU"
        ) from error
    return OnnxPasses(net, manifest.folder, device, manifest.weights_sha256)


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


def served_precision(net: Net) -> dict[str, Tensor]:
    """The state dict as it is stored: filters in float16; norms, whose variances have no bounded range, in float32."""
    state = net.cpu().state_dict()
    return {key: (value.half() if value.ndim == 4 else value).contiguous() for key, value in state.items()}


def misfit(net: Net, weights: Mapping[str, Tensor]) -> str:
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
        net = outline(manifest.network, len(manifest.labels), manifest.network_options)
        return layer_shapes(net, blank(net, manifest.input.height, manifest.input.width))
    except Exception as error:  # whatever an operator's own network raises
        raise ManifestError(f"{manifest.folder}/model.toml: {type(error).__name__}: {error}") from error
