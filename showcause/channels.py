"""What CHIP distilled from a model, ``chip.safetensors`` in its folder, and what it says of classes. Imports no torch.

One tensor a layer, under the layer's name: (classes, channels) float32, the weights w of Eq. 10 and 11 (Cui, Wang,
Wang: arXiv 1902.02497), a row for each class that was distilled. The file's metadata says under "chip", as JSON,

    {"weights_sha256": "...", "layers": [{"layer": "features.10", "classes": ["zebra", ...], "about": {...}}, ...]}

layers in the order in which they run; about: the settings and the fit, for people.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from showcause.errors import FailedPrecondition, out_of_range
from showcause.manifest import Manifest, ManifestError
from showcause.v1 import explanation_pb2, service_pb2
from showcause.wishes import class_index, listed

DEFAULT_COUNT, MOST_COUNT = 10, 4096
MOST_WEIGHT = 1e6  # probability per unit of activation: sums over channels and places stay finite in float32
Weights = NDArray[np.float32]


@dataclass(frozen=True)
class LayerWeights:
    """One layer's. classes: indices of the classes that were distilled. weights: (classes, channels)."""

    layer: str
    classes: tuple[int, ...]
    weights: Weights
    about: Mapping[str, Any] = field(default_factory=dict)

    def of(self, index: int) -> Weights:
        """The weights of one class that was distilled: (channels,)."""
        return self.weights[self.classes.index(index)]


Distilled = Mapping[str, LayerWeights]  # by layer, in the order in which they run


def read_distilled(manifest: Manifest) -> Distilled:
    """What the folder holds; empty where nothing was distilled. Raises ManifestError for a file that is wrong."""
    path = manifest.chip_path
    if not path.exists():
        return {}
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {})["chip"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sha256, rows = metadata["weights_sha256"], metadata["layers"]
        found = {
            row["layer"]: LayerWeights(
                row["layer"], _indices(row["classes"], manifest), tensors[row["layer"]], row["about"]
            )
            for row in rows
        }
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ManifestError(f"{path}: {type(error).__name__}: {error}; see showcause/channels.py") from error
    if sha256 != manifest.weights_sha256:
        raise ManifestError(
            f"{path}: it was distilled from weights {sha256}, and model.toml wants {manifest.weights_sha256}: "
            f"{command(manifest)} does it anew"
        )
    if extra := sorted(set(tensors) - set(found)):
        raise ManifestError(f"{path}: its metadata does not say what tensor {extra[0]!r} is")
    for one in found.values():
        _check(path, one)
    return found


def _check(path: Path, one: LayerWeights) -> None:
    shape, wanted = one.weights.shape, len(one.classes)
    if one.weights.ndim != 2 or shape[0] != wanted or not shape[1] or one.weights.dtype.kind != "f":
        raise ManifestError(f"{path}: {one.layer} is {one.weights.dtype} {shape}; allowed: floats ({wanted}, channels)")
    if not wanted:
        raise ManifestError(f"{path}: {one.layer} has no classes")
    if not (np.abs(one.weights) <= MOST_WEIGHT).all():  # NaN is not
        raise ManifestError(f"{path}: {one.layer} has weights that are not finite, or above {MOST_WEIGHT:g} in size")


def _indices(labels: Sequence[str], manifest: Manifest) -> tuple[int, ...]:
    if unknown := [label for label in labels if label not in manifest.labels]:
        raise ValueError(f"class {unknown[0]!r} is none of the model's; allowed: {listed(manifest.labels, 10)}")
    if len(set(labels)) < len(labels):
        raise ValueError("a class stands there twice")
    return tuple(manifest.labels.index(label) for label in labels)


def check_layers(manifest: Manifest, distilled: Distilled, layers: Mapping[str, tuple[int, int, int]]) -> None:
    """Raises ManifestError where the network has no such layers, or runs them in another order.

    layers: (channels, height, width), by name, in the order in which they run.
    """
    for name, one in distilled.items():
        if name not in layers:
            raise ManifestError(f"{manifest.chip_path}: network {manifest.network} has no layer {name!r}")
        if one.weights.shape[1] != layers[name][0]:
            raise ManifestError(
                f"{manifest.chip_path}: {name} has {one.weights.shape[1]} channels; allowed: {layers[name][0]}"
            )
    # Refused, not sorted: the gateway reads the file too, and has no network to sort by.
    if list(distilled) != (right := [name for name in layers if name in distilled]):
        raise ManifestError(
            f"{manifest.chip_path}: its layers are {', '.join(distilled)}; allowed: {', '.join(right)}, as they run"
        )


def write_distilled(manifest: Manifest, layers: Sequence[LayerWeights]) -> None:
    """Replaces the file at once: whoever reads it finds the old one or the new one.

    Raises ManifestError, and leaves the old one, for weights that could not be read again.
    """
    for one in layers:
        _check(manifest.chip_path, one)
    rows = [
        {"layer": one.layer, "classes": [manifest.labels[index] for index in one.classes], "about": one.about}
        for one in layers
    ]
    chip = json.dumps({"weights_sha256": manifest.weights_sha256, "layers": rows})
    data = save({one.layer: np.ascontiguousarray(one.weights, np.float32) for one in layers}, {"chip": chip})
    made = manifest.chip_path.with_suffix(".new")
    made.write_bytes(data)
    os.replace(made, manifest.chip_path)


def command(manifest: Manifest, layer: str = "LAYER") -> str:
    """What distils a layer of a model, for errors."""
    return f"showcause train chip --model {manifest.name} --layers {layer} --data DIR"


def important(weights: Weights, count: int) -> list[int]:
    """The channels (at most ``count``) with the largest positive weights, strongest first; weights: (channels,)."""
    order = np.argsort(-weights, kind="stable")[:count]
    return [int(channel) for channel in order if weights[channel] > 0]


def overlap(sets: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Intersection over union of every two sets of channels: (n, n); 0 for two empty ones."""
    width = max((max(one) for one in sets if one), default=0) + 1
    member = np.zeros((len(sets), width), np.float32)  # exact up to 2^24 channels, and fast
    for row, one in zip(member, sets, strict=True):
        row[list(one)] = 1
    common = (member @ member.T).astype(np.float64)
    sizes = np.diag(common)
    return common / np.maximum(sizes[:, None] + sizes - common, 1)


def channel_importance(
    request: service_pb2.GetChannelImportanceRequest, manifest: Manifest, distilled: Distilled
) -> service_pb2.GetChannelImportanceResponse:
    """What was distilled, as it was asked for.

    Raises InvalidArgument, NotFound for a label that the model does not have, and FailedPrecondition for a layer or a
    class that was not distilled.
    """
    if not 0 <= request.channel_count <= MOST_COUNT:
        raise out_of_range("channel_count", request.channel_count, f"1 to {MOST_COUNT}, or 0 for the default")
    one = distilled_layer(distilled, request.layer, "layer", manifest)
    indices = one.classes
    if request.classes:
        wanted = []
        for position, reference in enumerate(request.classes):
            name = f"classes[{position}]"
            kind = reference.WhichOneof("reference")
            if kind is None:
                raise out_of_range(name, "an empty reference", "class_index or label")
            wanted.append(class_index(reference, kind, name, manifest))
            check_class(one, wanted[-1], f"{name}.{kind}", manifest)
        indices = tuple(dict.fromkeys(wanted))
    listed_channels = [important(one.of(index), request.channel_count or DEFAULT_COUNT) for index in indices]
    return service_pb2.GetChannelImportanceResponse(
        layer=one.layer,
        distilled_layers=list(distilled),
        classes=[
            service_pb2.ClassChannels(
                class_target=explanation_pb2.ClassTarget(index=index, label=manifest.labels[index]),
                channels=[
                    service_pb2.ChannelImportance(channel=channel, weight=float(one.of(index)[channel]))
                    for channel in channels
                ],
                nonzero_count=int(np.count_nonzero(one.of(index))),
                channel_count=one.weights.shape[1],
            )
            for index, channels in zip(indices, listed_channels, strict=True)
        ],
        overlap=overlap(listed_channels).ravel().tolist(),
        chip_sha256=manifest.chip_sha256,
    )


def distilled_layer(distilled: Distilled, layer: str, where: str, manifest: Manifest) -> LayerWeights:
    """The layer that is meant, the last one where none is named; raises FailedPrecondition where it was not distilled.

    where: the field of the request that names it.
    """
    if layer in distilled:
        return distilled[layer]
    if distilled and not layer:
        return list(distilled.values())[-1]
    does_it = f"{command(manifest, layer or 'LAYER')} distils it"
    raise FailedPrecondition(
        "METHOD_NOT_AVAILABLE",
        f"this layer of model {manifest.name} was not distilled",
        field=where,
        value=layer or None,
        allowed=f"{listed(tuple(distilled))}; {does_it}" if distilled else f"none yet; {does_it}",
    )


def check_class(one: LayerWeights, index: int, where: str, manifest: Manifest) -> None:
    """Raises FailedPrecondition where the class was not distilled for the layer."""
    if index not in one.classes:
        known = listed(tuple(manifest.labels[each] for each in one.classes), 10)
        raise FailedPrecondition(
            "METHOD_NOT_AVAILABLE",
            f"this class was not distilled for layer {one.layer} of model {manifest.name}",
            field=where,
            value=manifest.labels[index],
            allowed=f"{known}; {command(manifest, one.layer)} distils all that DIR has photos of",
        )
