"""Requests, read and checked: from protobuf messages to a ``Job`` that the worker can do. Imports no torch.

Everything that can be wrong with a request and does not need the photo or the forward pass is found here, so that a
bad request costs nothing and names its field.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from showcause.errors import FailedPrecondition, InvalidArgument, out_of_range
from showcause.image import NAMED_FORMATS
from showcause.manifest import Manifest
from showcause.render import OVERLAY_SIDE_PX
from showcause.render_parts import MOST_DRAWN, TILE_PIXELS
from showcause.reply import PICTURE_KINDS, SPECIAL_PICTURES, Rectangle
from showcause.v1 import explanation_pb2, input_pb2, method_pb2, service_pb2
from showcause.wire import parsed
from showcause.wire_tables import DTYPES, PICTURE_KIND_NUMBERS, name_of
from showcause.wishes import TopK, Wish, listed, read_targets

MOST_MAP_SIDE = 4096  # pixels
MOST_REPLY_BYTES = 64 * 1024 * 1024
PART_BYTES = 8 * 1024  # of a part in a reply, its outlines included; most have a quarter of it
DEFAULT_PREDICTIONS = 5


@dataclass(frozen=True)
class MapWish:
    """dtype of the raw map and its size (width, height), None for the method's native grid."""

    dtype: np.dtype[np.generic]
    size: tuple[int, int] | None


@dataclass(frozen=True)
class BoxWish:
    """threshold: fraction of the map's maximum; None for the method's own."""

    threshold: float | None


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
    box: BoxWish | None
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
    methods = _read_methods(request, manifest)
    return Job(
        input=_read_input(request.input, manifest),
        targets=read_targets(request.targets, manifest, layers),
        methods=methods,
        map=_read_map(request),
        box=_read_box(request.output) if request.output.HasField("box") else None,
        pictures=_read_pictures(request.output, methods),
        prediction_count=_read_count(request.prediction_count, manifest),
    )


def read_predict(data: bytes, manifest: Manifest, _: Mapping[str, tuple[int, int, int]]) -> Job:
    """A serialised PredictRequest -> Job; raises InvalidArgument."""
    request = parsed(service_pb2.PredictRequest, data)
    return Job(
        input=_read_input(request.input, manifest),
        targets=(),
        methods={},
        map=None,
        box=None,
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


def check_methods(methods: Iterable[method_pb2.Method], manifest: Manifest, served: Iterable[Manifest] = ()) -> None:
    """Raises FailedPrecondition for a method that the model does not answer, naming the ``served`` ones that do."""
    for position, method in enumerate(methods):
        name = method.WhichOneof("method")
        if name is None or name in manifest.methods:
            continue
        others = [other.name for other in served if name in other.methods]
        allowed = f"{listed(manifest.methods)}, or {name} of {listed(tuple(others))}" if others else ""
        raise FailedPrecondition(
            "METHOD_NOT_AVAILABLE",
            f"model {manifest.name} does not answer this method",
            field=f"methods[{position}]",
            value=name,
            allowed=allowed or listed(manifest.methods),
        )


def _read_methods(request: service_pb2.ExplainRequest, manifest: Manifest) -> dict[str, method_pb2.Method]:
    check_methods(request.methods, manifest)
    methods: dict[str, method_pb2.Method] = {}
    for position, method in enumerate(request.methods):
        field, name = f"methods[{position}]", method.WhichOneof("method")
        if name is None:
            raise out_of_range(field, "an empty method", listed(manifest.methods))
        if name in methods:
            raise out_of_range(field, name, "each method at most once")
        methods[name] = method
    if methods:
        return methods
    default = method_pb2.Method()
    getattr(default, manifest.methods[0]).SetInParent()
    return {manifest.methods[0]: default}


def _read_map(request: service_pb2.ExplainRequest) -> MapWish | None:
    if not request.HasField("output"):
        return MapWish(np.dtype("<f4"), None)
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


def _read_box(output: explanation_pb2.OutputOptions) -> BoxWish:
    if not output.box.HasField("threshold"):
        return BoxWish(None)
    if not 0 <= output.box.threshold < 1:  # NaN is not between either
        raise out_of_range("output.box.threshold", output.box.threshold, "from 0, below 1")
    return BoxWish(output.box.threshold)


def _read_pictures(output: explanation_pb2.OutputOptions, methods: Iterable[str]) -> tuple[str, ...]:
    names = tuple(name_of(PICTURE_KIND_NUMBERS, kind) for kind in output.pictures)
    if "" in names or len(set(names)) != len(names):
        allowed = f"{', '.join(PICTURE_KINDS).upper()}, each at most once"
        raise out_of_range("output.pictures", list(output.pictures), allowed)
    for method in methods:
        drawn = [kind for kind in PICTURE_KINDS if method in SPECIAL_PICTURES.get(kind, (method,))]
        if other := next((name for name in names if name not in drawn), ""):
            raise FailedPrecondition(
                "METHOD_NOT_AVAILABLE",
                f"{method} has no such picture",
                field="output.pictures",
                value=other,
                allowed=", ".join(drawn),
            )
    return names


def check_size(job: Job, methods: Mapping[str, method_pb2.Method], manifest: Manifest) -> None:
    """Refuses what could make a reply too large, before anything is computed for it. Pictures count uncompressed.

    methods: of the job, with their defaults.
    """
    pixels = manifest.input.width * manifest.input.height
    each = 0
    if job.map is not None:
        width, height = job.map.size or (manifest.input.width, manifest.input.height)
        each += width * height * job.map.dtype.itemsize
    for kind in job.pictures:
        each += 3 * OVERLAY_SIDE_PX**2 if kind == "overlay" else 4 * pixels
    total = each * job.target_count * len(methods)
    for name, method in methods.items():
        if name == "linear_map" and method.linear_map.include_weights:
            total += 4 * 6 * pixels * job.target_count
        if name == "filter_parts":
            count = method.filter_parts.part_count
            drawn = 3 * TILE_PIXELS * min(count, MOST_DRAWN) * len({"overlay", "tiles"}.intersection(job.pictures))
            total += (count * PART_BYTES + drawn) * job.target_count
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
