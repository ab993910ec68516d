"""Replies between plain data (``showcause.reply``) and protobuf (``showcause.v1``), and the engine's envelope.

Between the gateway and the engine a reply is one byte (0: a serialised response, 1: a serialised google.rpc.Status) and
the payload, so that one bad item does not harm its neighbours in a batch and the gateway can pass a good one on unread.
Imports no torch.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from numpy.typing import NDArray

from showcause import reply as r
from showcause.errors import (
    InvalidArgument,
    ResourceExhausted,
    ShowcauseError,
    Unavailable,
    from_status,
    restored,
    to_status,
)
from showcause.v1 import explanation_pb2, input_pb2, method_pb2, model_pb2, service_pb2

KIND_NUMBERS = {
    "inherent": method_pb2.EXPLANATION_KIND_INHERENT,
    "post_hoc": method_pb2.EXPLANATION_KIND_POST_HOC,
}
PROBABILITY_KIND_NUMBERS = {
    "softmax": model_pb2.PROBABILITY_KIND_SOFTMAX,
    "sigmoid": model_pb2.PROBABILITY_KIND_SIGMOID,
}
PREPROCESSING_NUMBERS = {
    "squash": input_pb2.PREPROCESSING_SQUASH,
    "center_crop": input_pb2.PREPROCESSING_CENTER_CROP,
    "letterbox": input_pb2.PREPROCESSING_LETTERBOX,
    "none": input_pb2.PREPROCESSING_UNSPECIFIED,
}
PICTURE_KIND_NUMBERS = {
    "heat_map": explanation_pb2.PICTURE_KIND_HEAT_MAP,
    "overlay": explanation_pb2.PICTURE_KIND_OVERLAY,
    "color": explanation_pb2.PICTURE_KIND_COLOR,
}
DTYPES: dict[int, np.dtype[np.generic]] = {
    input_pb2.DTYPE_UNSPECIFIED: np.dtype("<f4"),
    input_pb2.DTYPE_FLOAT32: np.dtype("<f4"),
    input_pb2.DTYPE_FLOAT16: np.dtype("<f2"),
    input_pb2.DTYPE_UINT8: np.dtype("u1"),
}
REASONS = {name.removeprefix("ERROR_REASON_"): number for name, number in service_pb2.ErrorReason.items()}
OK, FAILED = b"\x00", b"\x01"
# Larger photos are not sent on a stream: whatever the service's own limit is, its transport takes at least this much.
MOST_STREAMED_BYTES = 32 * 1024 * 1024
RETRY_SECONDS = 1.0  # when to try again what was refused for a while
M = TypeVar("M", bound=Message)


def name_of(numbers: Mapping[str, int], number: int) -> str:
    """The key of ``number`` in one of the tables above; "" where it has none."""
    return next((name for name, value in numbers.items() if value == number), "")


def parsed(kind: type[M], data: bytes) -> M:
    """A request message from its bytes; raises InvalidArgument."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidArgument("REQUEST_MALFORMED", f"the bytes are no {kind.DESCRIPTOR.full_name}") from error


def seal(outcome: service_pb2.ExplainResponse | ShowcauseError) -> bytes:
    """An outcome as the engine's envelope."""
    if isinstance(outcome, ShowcauseError):
        return FAILED + to_status(outcome).SerializeToString()
    return OK + outcome.SerializeToString()


def unseal(envelope: bytes) -> bytes:
    """The serialised response in an envelope; raises the error if it holds one."""
    if envelope[:1] == FAILED:
        raise from_status(status_pb2.Status.FromString(envelope[1:]))
    if envelope[:1] != OK:
        raise ValueError(f"an envelope begins with byte 0 or 1, not {envelope[:1]!r}")
    return envelope[1:]


def stream_response(name: str, response: bytes) -> bytes:
    """A serialised ExplainStreamResponse around a serialised ExplainResponse, which stays unread."""
    number = service_pb2.ExplainStreamResponse.RESPONSE_FIELD_NUMBER
    key = bytes([number << 3 | 2])  # a length and that many bytes follow
    length, size = bytearray(), len(response)
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"".join((service_pb2.ExplainStreamResponse(id=name).SerializeToString(), key, length, response))


def stream_error(name: str, error: ShowcauseError) -> bytes:
    """A serialised ExplainStreamResponse for a photo that failed."""
    message = service_pb2.StreamError(
        code=error.code,
        message=error.message,
        reason=REASONS.get(error.reason, service_pb2.ERROR_REASON_UNSPECIFIED),  # type: ignore[arg-type]
        field=error.field,
        value=error.value,
        allowed=error.allowed,
    )
    if isinstance(error, ResourceExhausted | Unavailable):
        message.retry_delay_seconds = RETRY_SECONDS
    return service_pb2.ExplainStreamResponse(id=name, error=message).SerializeToString()


def read_event(message: service_pb2.ExplainStreamResponse) -> r.Streamed | None:
    """What became of one photo; None for an event that only says how far it is."""
    match message.WhichOneof("event"):
        case "response":
            return r.Streamed(message.id, read_reply(message.response))
        case "error":
            sent = message.error
            reason = name_of(REASONS, sent.reason) or "UNKNOWN"
            return r.Streamed(
                message.id,
                error=restored(
                    sent.code, reason, sent.message, field=sent.field, value=sent.value, allowed=sent.allowed
                ),
            )
    return None


def rectangle_message(rectangle: r.Rectangle) -> input_pb2.Rectangle:
    return input_pb2.Rectangle(
        x_min=rectangle.x_min, y_min=rectangle.y_min, x_max=rectangle.x_max, y_max=rectangle.y_max
    )


def frame_message(frame: r.InputFrame) -> input_pb2.InputFrame:
    return input_pb2.InputFrame(
        photo_width=frame.photo_width,
        photo_height=frame.photo_height,
        seen=rectangle_message(frame.seen),
        network_width=frame.network_width,
        network_height=frame.network_height,
        preprocessing=PREPROCESSING_NUMBERS[frame.preprocessing],
    )


def prediction_message(prediction: r.Prediction) -> model_pb2.Prediction:
    return model_pb2.Prediction(
        index=prediction.index, label=prediction.label, logit=prediction.logit, probability=prediction.probability
    )


def map_message(values: NDArray[np.floating[Any]], dtype: np.dtype[np.generic]) -> explanation_pb2.Map:
    """A (h, w) float map in the dtype asked for; uint8 spans the map's own range."""
    number = next(number for number, kind in DTYPES.items() if number and kind == dtype)
    scale, offset = 1.0, 0.0
    if dtype == np.dtype("u1"):
        offset, scale = float(values.min()), float(np.ptp(values)) / 255 or 1.0
        values = np.rint((values - offset) / scale)
    height, width = values.shape
    return explanation_pb2.Map(
        width=width,
        height=height,
        dtype=number,  # type: ignore[arg-type]
        data=values.astype(dtype).tobytes(),
        scale=scale,
        offset=offset,
    )


def target_message(target: r.Target) -> explanation_pb2.ResolvedTarget:
    """A resolved target; raises TypeError for one that is not."""

    def of_class(one: r.ClassTarget) -> explanation_pb2.ClassTarget:
        return explanation_pb2.ClassTarget(index=one.index, label=one.label)

    match target:
        case r.ClassTarget():
            return explanation_pb2.ResolvedTarget(class_target=of_class(target))
        case r.Neuron(layer, int(channel), (row, column)):
            place = method_pb2.Place(row=row, column=column)
            neuron = method_pb2.Neuron(layer=layer, channel=channel, place=place)
            return explanation_pb2.ResolvedTarget(neuron=neuron)
        case r.Difference(r.ClassTarget() as of, r.ClassTarget() as versus):
            difference = explanation_pb2.ClassDifference(target=of_class(of), versus=of_class(versus))
            return explanation_pb2.ResolvedTarget(class_difference=difference)
    raise TypeError(f"{target!r} is not resolved")


def read_target(message: explanation_pb2.ResolvedTarget) -> r.Target:
    def of_class(one: explanation_pb2.ClassTarget) -> r.ClassTarget:
        return r.ClassTarget(one.index, one.label)

    match message.WhichOneof("target"):
        case "neuron":
            place = message.neuron.place
            return r.Neuron(message.neuron.layer, message.neuron.channel, (place.row, place.column))
        case "class_difference":
            return r.Difference(of_class(message.class_difference.target), of_class(message.class_difference.versus))
    return of_class(message.class_target)


def explanation_message(
    explanation: r.Explanation, map_dtype: np.dtype[np.generic] | None
) -> explanation_pb2.Explanation:
    """The explanation; its map in ``map_dtype``, or left out."""
    message = explanation_pb2.Explanation(
        method=explanation.method,
        target=target_message(explanation.target),
        kind=KIND_NUMBERS[explanation.kind],
        pictures=[
            explanation_pb2.Picture(
                kind=PICTURE_KIND_NUMBERS[picture.kind],
                png=picture.png,
                width=picture.width,
                height=picture.height,
            )
            for picture in explanation.pictures
        ],
    )
    for residual in explanation.evidence:
        message.evidence.add().residual.CopyFrom(
            explanation_pb2.Residual(
                contribution_sum=residual.contribution_sum,
                bias=residual.bias,
                score=residual.score,
                relative_residual=residual.relative,
            )
        )
    if explanation.map is not None and map_dtype is not None:
        message.map.CopyFrom(map_message(explanation.map, map_dtype))
    if explanation.weights is not None:
        weights = explanation.weights
        message.weights.CopyFrom(
            input_pb2.Tensor(
                shape=weights.shape, dtype=input_pb2.DTYPE_FLOAT32, data=weights.astype("<f4", copy=False).tobytes()
            )
        )
    return message


def read_reply(message: service_pb2.ExplainResponse | service_pb2.PredictResponse) -> r.Reply:
    """A response as the client gives it."""
    frame, timings = message.frame, message.timings
    explanations = message.explanations if isinstance(message, service_pb2.ExplainResponse) else ()
    return r.Reply(
        predictions=tuple(r.Prediction(p.index, p.label, p.logit, p.probability) for p in message.predictions),
        probability_kind=name_of(PROBABILITY_KIND_NUMBERS, message.probability_kind),
        frame=r.InputFrame(
            frame.photo_width,
            frame.photo_height,
            r.Rectangle(frame.seen.x_min, frame.seen.y_min, frame.seen.x_max, frame.seen.y_max),
            frame.network_width,
            frame.network_height,
            name_of(PREPROCESSING_NUMBERS, frame.preprocessing),
        ),
        explanations=tuple(read_explanation(item) for item in explanations),
        receipt=MessageToDict(
            message.receipt, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        ),
        timings=r.Timings(
            timings.decode_seconds,
            timings.forward_seconds,
            timings.explain_seconds,
            timings.render_seconds,
            timings.total_seconds,
            timings.batch_size,
        ),
        request_id=message.request_id,
    )


def read_explanation(message: explanation_pb2.Explanation) -> r.Explanation:
    weights = message.weights
    residuals = (item.residual for item in message.evidence if item.WhichOneof("evidence") == "residual")
    return r.Explanation(
        method=message.method,
        target=read_target(message.target),
        kind=name_of(KIND_NUMBERS, message.kind),
        evidence=tuple(r.Residual(item.contribution_sum, item.bias, item.score) for item in residuals),
        map=read_map(message.map) if message.HasField("map") else None,
        pictures=tuple(
            r.Picture(name_of(PICTURE_KIND_NUMBERS, picture.kind), picture.png, picture.width, picture.height)
            for picture in message.pictures
        ),
        weights=np.frombuffer(weights.data, DTYPES[weights.dtype]).reshape(tuple(weights.shape))
        if message.HasField("weights")
        else None,
    )


def read_map(message: explanation_pb2.Map) -> NDArray[np.float32]:
    """The map as float32 (h, w), whatever it was sent as."""
    entries = np.frombuffer(message.data, DTYPES[message.dtype]).reshape(message.height, message.width)
    if message.dtype == input_pb2.DTYPE_UINT8:
        return (message.offset + message.scale * entries).astype(np.float32)
    return entries.astype(np.float32)
