"""Replies between plain data (``showcause.reply``) and protobuf (``showcause.v1``), and the engine's envelope.

Between the gateway and the engine a reply is an ``Envelope`` (showcause.engine.v1): a serialised response or a
google.rpc.Status, so that one bad item does not harm its neighbours in a batch and the gateway can pass a good one on
unread; and what it cost. Imports no torch.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from showcause import reply as r
from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.errors import (
    InvalidArgument,
    ShowcauseError,
    from_status,
    restored,
    to_status,
)
from showcause.receipt import receipt_sha256
from showcause.v1 import input_pb2, model_pb2, service_pb2
from showcause.wire_explanation import read_agreement, read_explanation, read_rectangle, rectangle_message
from showcause.wire_tables import PREPROCESSING_NUMBERS, PROBABILITY_KIND_NUMBERS, REASONS, name_of

# Larger photos are not sent on a stream: whatever the service's own limit is, its transport takes at least this much.
MOST_STREAMED_BYTES = 32 * 1024 * 1024
STAGES = ("decode", "forward", "explain", "render")  # of ``Timings`` and ``Envelope.stage_seconds``, a worker's
PASS, PICTURE = "pass", "picture"  # of ``Envelope.cost_seconds``, beside the methods' names
M = TypeVar("M", bound=Message)


def parsed(kind: type[M], data: bytes) -> M:
    """A request message from its bytes; raises InvalidArgument."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidArgument("REQUEST_MALFORMED", f"the bytes are no {kind.DESCRIPTOR.full_name}") from error


def seal(
    outcome: service_pb2.ExplainResponse | ShowcauseError,
    cost_seconds: Mapping[str, float] = {},
    residuals: Mapping[str, float] = {},
    batch_size: int = 0,
    first_of_batch: bool = False,
) -> bytes:
    """An outcome as the engine's envelope. The other arguments, and what is taken from a response: see ``Envelope``."""
    envelope = Envelope(
        cost_seconds=cost_seconds, residuals=residuals, batch_size=batch_size, first_of_batch=first_of_batch
    )
    if isinstance(outcome, ShowcauseError):
        envelope.failure = to_status(outcome).SerializeToString()
    else:
        envelope.response = outcome.SerializeToString()
        envelope.receipt_sha256 = receipt_sha256(_receipt_dict(outcome.receipt))
        timings = outcome.timings
        for stage in STAGES:
            envelope.stage_seconds[stage] = getattr(timings, f"{stage}_seconds")
    return envelope.SerializeToString()


def unseal(sealed: bytes) -> bytes:
    """The serialised response in an envelope; raises the error if it holds one."""
    return opened(Envelope.FromString(sealed))


def opened(envelope: Envelope) -> bytes:
    """The same for who has read the envelope already."""
    if envelope.failure:
        raise from_status(status_pb2.Status.FromString(envelope.failure))
    return envelope.response


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
    if error.retry_seconds:
        message.retry_delay_seconds = error.retry_seconds
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
                    sent.code,
                    reason,
                    sent.message,
                    field=sent.field,
                    value=sent.value,
                    allowed=sent.allowed,
                    retry_seconds=sent.retry_delay_seconds,
                ),
            )
    return None


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


def _receipt_dict(receipt: model_pb2.Receipt) -> dict[str, Any]:
    """As REST writes it."""
    return MessageToDict(receipt, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def read_reply(message: service_pb2.ExplainResponse | service_pb2.PredictResponse) -> r.Reply:
    """A response as the client gives it."""
    frame, timings = message.frame, message.timings
    explained = message if isinstance(message, service_pb2.ExplainResponse) else service_pb2.ExplainResponse()
    return r.Reply(
        predictions=tuple(r.Prediction(p.index, p.label, p.logit, p.probability) for p in message.predictions),
        probability_kind=name_of(PROBABILITY_KIND_NUMBERS, message.probability_kind),
        frame=r.InputFrame(
            frame.photo_width,
            frame.photo_height,
            read_rectangle(frame.seen),
            frame.network_width,
            frame.network_height,
            name_of(PREPROCESSING_NUMBERS, frame.preprocessing),
        ),
        explanations=tuple(map(read_explanation, explained.explanations)),
        agreements=tuple(map(read_agreement, explained.agreements)),
        receipt=_receipt_dict(message.receipt),
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
