"""What a request wants explained, read and checked as far as it can be before the forward pass. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from showcause.errors import NotFound, out_of_range
from showcause.manifest import Manifest
from showcause.reply import Neuron
from showcause.v1 import method_pb2

MOST_TARGETS = 16  # in one request, each of the top k counted


@dataclass(frozen=True)
class TopK:
    """The k strongest classes: known after the forward pass."""

    count: int


@dataclass(frozen=True)
class Versus:
    """Two classes by index, one against the other; None means the strongest other class."""

    target: int | None
    versus: int | None


Wish = int | TopK | Versus | Neuron


def read_targets(
    messages: Sequence[method_pb2.Target], manifest: Manifest, layers: Mapping[str, tuple[int, int, int]]
) -> tuple[Wish, ...]:
    """In the order asked; the strongest class where nothing is. layers: (channels, height, width), by name.

    Raises InvalidArgument, or NotFound for a label or a layer that the model does not have.
    """
    targets: list[Wish] = []
    for position, target in enumerate(messages):
        field = f"targets[{position}]"
        match target.WhichOneof("target"):
            case "class_index" | "label" as kind:
                targets.append(class_index(target, kind, field, manifest))
            case "top_k":
                most = min(MOST_TARGETS, len(manifest.labels))
                if not 1 <= target.top_k <= most:
                    raise out_of_range(f"{field}.top_k", target.top_k, f"1 to {most}")
                targets.append(TopK(target.top_k))
            case "neuron":
                targets.append(_read_neuron(target.neuron, f"{field}.neuron", layers))
            case "difference":
                targets.append(_read_difference(target.difference, f"{field}.difference", manifest))
            case _:
                raise out_of_range(field, "an empty target", "class_index, label, top_k, neuron or difference")
    count = sum(target.count if isinstance(target, TopK) else 1 for target in targets)
    if count > MOST_TARGETS:
        raise out_of_range("targets", f"{count} targets", f"at most {MOST_TARGETS} together")
    return tuple(targets) or (TopK(1),)


def class_index(
    message: method_pb2.Target | method_pb2.ClassReference, kind: str, field: str, manifest: Manifest
) -> int:
    if kind == "class_index":
        if not 0 <= message.class_index < len(manifest.labels):
            raise out_of_range(f"{field}.class_index", message.class_index, f"0 to {len(manifest.labels) - 1}")
        return message.class_index
    if message.label not in manifest.labels:
        raise NotFound(
            "LABEL_NOT_FOUND",
            f"model {manifest.name} has no such label",
            field=f"{field}.label",
            value=message.label,
            allowed=near(message.label, manifest.labels),
        )
    return manifest.labels.index(message.label)


def _read_difference(message: method_pb2.Difference, field: str, manifest: Manifest) -> Versus:
    indices: dict[str, int | None] = {}
    for name, reference in (("target", message.target), ("versus", message.versus)):
        kind = reference.WhichOneof("reference")
        indices[name] = class_index(reference, kind, f"{field}.{name}", manifest) if kind else None
    if indices["target"] is not None and indices["target"] == indices["versus"]:
        raise out_of_range(f"{field}.versus", manifest.labels[indices["target"]], "another class than the target")
    return Versus(indices["target"], indices["versus"])


def _read_neuron(message: method_pb2.Neuron, field: str, layers: Mapping[str, tuple[int, int, int]]) -> Neuron:
    if message.layer not in layers:
        raise NotFound(
            "LAYER_NOT_FOUND",
            "the network has no such layer",
            field=f"{field}.layer",
            value=message.layer,
            allowed=near(message.layer, tuple(layers)),
        )
    channels, height, width = layers[message.layer]
    channel = message.channel if message.HasField("channel") else None
    if channel is not None and not 0 <= channel < channels:
        raise out_of_range(f"{field}.channel", channel, f"0 to {channels - 1}")
    place = None
    if message.HasField("place"):
        place = (message.place.row, message.place.column)
        for name, value, size in zip(("row", "column"), place, (height, width), strict=True):
            if not 0 <= value < size:
                raise out_of_range(f"{field}.place.{name}", value, f"0 to {size - 1}")
    return Neuron(message.layer, channel, place)


def near(name: str, names: tuple[str, ...]) -> str:
    """Names that ``name`` may have meant; all of them, as far as there is room, where nothing is like it."""
    near = get_close_matches(name, names, 8, 0.6)
    return ", ".join(near) if near else listed(names)


def listed(names: tuple[str, ...], most: int = 40) -> str:
    """Names for an error, as far as there is room."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
