"""What both clients share: arguments -> request messages, and the rules for deadlines and retries."""

import json
from collections.abc import Iterable
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from showcause import reply as r
from showcause.v1 import input_pb2, method_pb2, service_pb2
from showcause.wire_tables import PICTURE_KIND_NUMBERS

Photo = bytes | str | Path | NDArray[np.floating[Any]]
One = SupportsIndex | str | r.Target
Targets = One | Iterable[One] | None
Class = SupportsIndex | str | r.ClassTarget
Classes = Class | Iterable[Class] | None

MAP_DTYPES = {
    "float32": input_pb2.DTYPE_FLOAT32,
    "float16": input_pb2.DTYPE_FLOAT16,
    "uint8": input_pb2.DTYPE_UINT8,
}
DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_SECONDS = 60.0
# What was not answered is tried again: asking twice does no harm. A server that begins to stop says UNAVAILABLE, and
# gRPC ends with CANCELLED what was on its way. Where an address stands for several replicas, each gets its share.
_RETRY = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "showcause.v1.ExplanationService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.service_config", json.dumps(_RETRY)),
    ("grpc.per_rpc_retry_buffer_size", 32 * 1024 * 1024),  # photos are larger than gRPC's default of 256 KiB
    # A replica that comes back is found within seconds (gRPC's default: two minutes), a machine that vanished while it
    # had a call, too.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


def input_message(photo: Photo, region: tuple[float, float, float, float] | r.Rectangle | None) -> input_pb2.Input:
    """photo: encoded bytes, a path to such a file, or a float tensor (3, H, W) of RGB in 0..1."""
    message = input_pb2.Input()
    if isinstance(photo, np.ndarray):
        message.tensor.CopyFrom(
            input_pb2.Tensor(
                shape=photo.shape, dtype=input_pb2.DTYPE_FLOAT32, data=photo.astype("<f4", copy=False).tobytes()
            )
        )
    else:
        message.image = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
    if region is not None:
        edges = (region.x_min, region.y_min, region.x_max, region.y_max) if isinstance(region, r.Rectangle) else region
        x_min, y_min, x_max, y_max = edges
        message.region.CopyFrom(input_pb2.Rectangle(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max))
    return message


def explain_request(
    photo: Photo,
    *,
    model: str = "",
    version: str = "",
    target: Targets = None,
    top_k: int | None = None,
    methods: str | method_pb2.Method | Iterable[str | method_pb2.Method] | None = None,
    region: tuple[float, float, float, float] | r.Rectangle | None = None,
    pictures: Iterable[str] = (),
    map_dtype: str | None = "float32",
    map_size: tuple[int, int] | None = None,
    box: bool | float = False,
    weights: bool = False,
    prediction_count: int = 0,
) -> service_pb2.ExplainRequest:
    """The message for ``Client.explain``; see there. Raises ValueError for what cannot be written as a message."""
    request = service_pb2.ExplainRequest(
        model=model, version=version, input=input_message(photo, region), prediction_count=prediction_count
    )
    for one in _listed(target):
        request.targets.append(target_message(one))
    if top_k is not None:
        request.targets.append(method_pb2.Target(top_k=top_k))
    for method in [methods] if isinstance(methods, str | method_pb2.Method) else methods or ():
        request.methods.append(method if isinstance(method, method_pb2.Method) else method_message(method))
    if weights:
        if not request.methods:
            request.methods.append(method_message("linear_map"))
        for method in request.methods:
            if method.WhichOneof("method") == "linear_map":
                method.linear_map.include_weights = True
    request.output.SetInParent()
    for kind in pictures:
        request.output.pictures.append(PICTURE_KIND_NUMBERS[_known(kind, r.PICTURE_KINDS, "picture")])
    if map_dtype is not None:
        request.output.map.dtype = MAP_DTYPES[_known(map_dtype, MAP_DTYPES, "map_dtype")]
        if map_size is not None:
            request.output.map.width, request.output.map.height = map_size
    if box is not False:
        request.output.box.SetInParent()
        if box is not True:
            request.output.box.threshold = box
    return request


def target_message(one: One) -> method_pb2.Target:
    """A label, a class index, a neuron or a difference as a wish."""
    match one:
        case r.Neuron():
            neuron = method_pb2.Neuron(layer=one.layer, channel=one.channel)
            if one.place is not None:
                neuron.place.row, neuron.place.column = one.place
            return method_pb2.Target(neuron=neuron)
        case r.Difference():
            return method_pb2.Target(
                difference=method_pb2.Difference(
                    target=None if one.target is None else _reference(one.target),
                    versus=None if one.versus is None else _reference(one.versus),
                )
            )
        case str():
            return method_pb2.Target(label=one)
    return method_pb2.Target(class_index=one.index if isinstance(one, r.ClassTarget) else index(one))


def _reference(one: Class) -> method_pb2.ClassReference:
    if isinstance(one, str):
        return method_pb2.ClassReference(label=one)
    return method_pb2.ClassReference(class_index=one.index if isinstance(one, r.ClassTarget) else index(one))


def method_message(name: str) -> method_pb2.Method:
    """A method with its default parameters."""
    message = method_pb2.Method()
    getattr(message, _known(name, r.METHOD_KINDS, "method")).SetInParent()
    return message


def channels_request(
    model: str = "", *, version: str = "", layer: str = "", classes: Classes = None, count: int = 0
) -> service_pb2.GetChannelImportanceRequest:
    """The message for ``Client.channels``; see there."""
    wanted: Iterable[Class] = ()
    if classes is not None:
        wanted = (classes,) if isinstance(classes, str | SupportsIndex | r.ClassTarget) else classes
    return service_pb2.GetChannelImportanceRequest(
        model=model,
        version=version,
        layer=layer,
        classes=[_reference(each) for each in wanted],
        channel_count=count,
    )


def predict_request(
    photo: Photo,
    *,
    model: str = "",
    version: str = "",
    region: tuple[float, float, float, float] | r.Rectangle | None = None,
    prediction_count: int = 0,
) -> service_pb2.PredictRequest:
    """The message for ``Client.predict``; see there."""
    return service_pb2.PredictRequest(
        model=model, version=version, input=input_message(photo, region), prediction_count=prediction_count
    )


def _listed(target: Targets) -> Iterable[One]:
    """Nothing, one target or several, as several. numpy's integers are no int, and 0 is a target."""
    if target is None:
        return ()
    return (target,) if isinstance(target, str | SupportsIndex | r.Target) else target


def _known(name: str, allowed: Iterable[str], what: str) -> str:
    if name not in allowed:
        raise ValueError(f"{what} is {name!r}; allowed: {', '.join(allowed)}")
    return name
