"""Requests, read and checked: from protobuf messages to a ``Job`` that the worker can do. Imports no torch.

Everything that can be wrong with a request and does not need the photo or the forward pass is found here, so that a
bad request costs nothing and names its field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from showcause.errors import FailedPrecondition, InvalidArgument, NotFound, out_of_range
from showcause.image import NAMED_FORMATS
from showcause.manifest import Manifest
from showcause.render import OVERLAY_SIDE_PX
from showcause.reply import Neuron, Rectangle
from showcause.v1 import explanation_pb2, input_pb2, method_pb2, service_pb2
from showcause.wire import DTYPES, PICTURE_KIND_NUMBERS, name_of, parsed

MOST_TARGETS = 16  # in one request, each of the top k counted
MOST_MAP_SIDE = 4096  # pixels
MOST_REPLY_BYTES = 64 * 1024 * 1024
DEFAULT_PREDICTIONS = 5


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


@dataclass(frozen=True)
class MapWish:
    """dtype of the raw map and its size (width, height), None for the method's native grid."""

    dtype: np.dtype[np.generic]
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Input:
    """Encoded photo bytes, or a tensor (3, H, W) that is ready for the network; region in photo pixels."""

    image: bytes = b""
    tensor: NDArray[np.float32] | None = None
    region: Rectangle | None = None


@dataclass(frozen=True)
class Job:
    """One checked request. ``methods`` is empty where only a prediction is wanted.

    targets: a class index, top-k, difference or neuron each, in the order asked. methods: messages of the ``Method``
    oneof by field name, as sent; the methods themselves fill in the defaults.
    """

    input: Input
    targets: tuple[Wish, ...]
    methods: dict[str, method_pb2.Method]
    map: MapWish | None
    pictures: tuple[str, ...]
    prediction_count: int

    @property
    def target_count(self) -> int:
        """How many explanations of one method there will be."""
        if not self.methods:
            return 0
        return sum(target.count if isinstance(target, TopK) else 1 for target in self.targets)


def read_explain(data: bytes, manifest: Manifest, layers: Mapping[str, tuple[int, int, int]]) -> Job:
    """A serialised ExplainRequest -> Job; raises InvalidArgument, NotFound or FailedPrecondition.

    layers: (channels, height, width) of the network's layers.
    """
    request = parsed(service_pb2.ExplainRequest, data)
    job = Job(
        input=_read_input(request.input, manifest),
        targets=_read_targets(request, manifest, layers),
        methods=_read_methods(request, manifest),
        map=_read_map(request, manifest),
        pictures=_read_pictures(request.output),
        prediction_count=_read_count(request.prediction_count, manifest),
    )
    _check_size(job, manifest)
    return job


def read_predict(data: bytes, manifest: Manifest, _: Mapping[str, tuple[int, int, int]]) -> Job:
    """A serialised PredictRequest -> Job; raises InvalidArgument."""
    request = parsed(service_pb2.PredictRequest, data)
    return Job(
        input=_read_input(request.input, manifest),
        targets=(),
        methods={},
        map=None,
        pictures=(),
        prediction_count=_read_count(request.prediction_count, manifest),
    )


def _read_input(message: input_pb2.Input, manifest: Manifest) -> Input:
    region = None
    if message.HasField("region"):
        region = Rectangle(message.region.x_min, message.region.y_min, message.region.x_max, message.region.y_max)
    if message.WhichOneof("data") == "tensor":
        if region is not None:
            raise out_of_range("input.region", "a region beside a tensor", "a region of a photo in input.image")
        return Input(tensor=_read_tensor(message.tensor, manifest))
    if not message.image:
        raise InvalidArgument(
            "INPUT_MISSING",
            "the photo is missing or has zero bytes",
            field="input.image",
            allowed=f"{NAMED_FORMATS} bytes, or a tensor in input.tensor",
        )
    return Input(image=message.image, region=region)


def _read_tensor(message: input_pb2.Tensor, manifest: Manifest) -> NDArray[np.float32]:
    wanted = (3, manifest.input.height, manifest.input.width)
    allowed = f"float32 of shape {wanted}, RGB in 0..1"
    if message.dtype not in (input_pb2.DTYPE_UNSPECIFIED, input_pb2.DTYPE_FLOAT32):
        raise out_of_range("input.tensor.dtype", int(message.dtype), allowed)
    if tuple(message.shape) != wanted:
        raise out_of_range("input.tensor.shape", list(message.shape), allowed)
    if len(message.data) != 4 * int(np.prod(wanted)):
        raise out_of_range("input.tensor.data", f"{len(message.data)} bytes", f"{4 * int(np.prod(wanted))} bytes")
    values = np.frombuffer(message.data, "<f4").reshape(wanted).astype(np.float32)  # a copy that may be written to
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise out_of_range("input.tensor.data", f"values from {values.min()} to {values.max()}", allowed)
    return values


def _read_targets(
    request: service_pb2.ExplainRequest, manifest: Manifest, layers: Mapping[str, tuple[int, int, int]]
) -> tuple[Wish, ...]:
    targets: list[Wish] = []
    for position, target in enumerate(request.targets):
        field = f"targets[{position}]"
        match target.WhichOneof("target"):
            case "class_index" | "label" as kind:
                targets.append(_class_index(target, kind, field, manifest))
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


def _class_index(
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
            allowed=_near(message.label, manifest.labels),
        )
    return manifest.labels.index(message.label)


def _read_difference(message: method_pb2.Difference, field: str, manifest: Manifest) -> Versus:
    indices: dict[str, int | None] = {}
    for name, reference in (("target", message.target), ("versus", message.versus)):
        kind = reference.WhichOneof("reference")
        indices[name] = _class_index(reference, kind, f"{field}.{name}", manifest) if kind else None
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
            allowed=_near(message.layer, tuple(layers)),
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


def _read_methods(request: service_pb2.ExplainRequest, manifest: Manifest) -> dict[str, method_pb2.Method]:
    methods: dict[str, method_pb2.Method] = {}
    for position, method in enumerate(request.methods):
        field, name = f"methods[{position}]", method.WhichOneof("method")
        if name is None:
            raise out_of_range(field, "an empty method", _listed(manifest.methods))
        if name not in manifest.methods:
            raise FailedPrecondition(
                "METHOD_NOT_AVAILABLE",
                f"model {manifest.name} does not answer this method",
                field=field,
                value=name,
                allowed=_listed(manifest.methods),
            )
        if name in methods:
            raise out_of_range(field, name, "each method at most once")
        methods[name] = method
    if methods:
        return methods
    default = method_pb2.Method()
    getattr(default, manifest.methods[0]).SetInParent()
    return {manifest.methods[0]: default}


def _read_map(request: service_pb2.ExplainRequest, manifest: Manifest) -> MapWish | None:
    if not request.HasField("output"):
        return MapWish(np.dtype("<f4"), None)
    if request.output.HasField("box"):
        raise FailedPrecondition(
            "METHOD_NOT_AVAILABLE",
            f"no method of model {manifest.name} gives boxes",
            field="output.box",
            value="a box",
            allowed="output.map and output.pictures",
        )
    if not request.output.HasField("map"):
        return None
    wish = request.output.map
    if wish.dtype not in DTYPES:
        raise out_of_range("output.map.dtype", wish.dtype, "DTYPE_FLOAT32, DTYPE_FLOAT16 or DTYPE_UINT8")
    sides = (wish.width, wish.height)
    if (wish.width == 0) != (wish.height == 0) or min(sides) < 0 or max(sides) > MOST_MAP_SIDE:
        allowed = f"both from 1 to {MOST_MAP_SIDE}, or both 0 for the native grid"
        raise out_of_range("output.map", f"width {wish.width}, height {wish.height}", allowed)
    return MapWish(DTYPES[wish.dtype], sides if wish.width else None)


def _read_pictures(output: explanation_pb2.OutputOptions) -> tuple[str, ...]:
    names = tuple(name_of(PICTURE_KIND_NUMBERS, kind) for kind in output.pictures)
    if "" in names or len(set(names)) != len(names):
        raise out_of_range("output.pictures", list(output.pictures), "HEAT_MAP, OVERLAY and COLOR, each at most once")
    return names


def _check_size(job: Job, manifest: Manifest) -> None:
    """Refuses what could make a reply too large, before anything is computed for it. Pictures count uncompressed."""
    pixels = manifest.input.width * manifest.input.height
    each = 0
    if job.map is not None:
        width, height = job.map.size or (manifest.input.width, manifest.input.height)
        each += width * height * job.map.dtype.itemsize
    for kind in job.pictures:
        each += 3 * OVERLAY_SIDE_PX**2 if kind == "overlay" else 4 * pixels
    total = each * job.target_count * len(job.methods)
    for name, method in job.methods.items():
        if name == "linear_map" and method.linear_map.include_weights:
            total += 4 * 6 * pixels * job.target_count
    if total > MOST_REPLY_BYTES:
        raise InvalidArgument(
            "REPLY_TOO_LARGE",
            "the reply could be too large",
            field="output",
            value=f"up to {total} bytes",
            allowed=f"up to {MOST_REPLY_BYTES} bytes: fewer targets, smaller maps or fewer pictures",
        )


def _read_count(count: int, manifest: Manifest) -> int:
    classes = len(manifest.labels)
    if not 0 <= count <= classes:
        raise out_of_range("prediction_count", count, f"1 to {classes}, or 0 for the default")
    return count or min(DEFAULT_PREDICTIONS, classes)


def _near(name: str, names: tuple[str, ...]) -> str:
    """Names that ``name`` may have meant; all of them, as far as there is room, where nothing is like it."""
    near = get_close_matches(name, names, 8, 0.6)
    return ", ".join(near) if near else _listed(names)


def _listed(names: tuple[str, ...], most: int = 40) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
