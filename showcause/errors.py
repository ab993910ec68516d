"""Every error that a caller can see, and its form on the wire (google.rpc.Status). Imports no torch.

ShowcauseError            code, reason, message, and where it applies field, value and what is allowed
├─ InvalidArgument        the request is wrong, whatever the server's state
├─ NotFound               no such model, version or label
├─ FailedPrecondition     right in itself, but this model cannot do it
├─ Unauthenticated        no token, or one that is not known
├─ PermissionDenied       a token that is not good for this
├─ DeadlineExceeded       too late
├─ ResourceExhausted      too much at once: try again later
├─ Unavailable            try again
└─ Internal               our fault; carries a request id and nothing else
"""

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "showcause"
# What of a text goes into an error: it travels in HTTP/2 headers, of which peers take 8 KB.
VALUE_CHARACTERS, ALLOWED_CHARACTERS = 200, 600


class ShowcauseError(Exception):
    """Base of all errors that a caller sees.

    reason: name in ``showcause.v1.ErrorReason`` without its prefix. field: path in the request, such as
    ``targets[0].class_index``. value: what was sent, shortened. allowed: what would have been accepted.
    retry_seconds: when to try again; 0 where that is of no use.
    """

    code: int = code_pb2.UNKNOWN
    retry_seconds: float = 0.0

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str = "",
        value: object = None,
        allowed: str = "",
        retry_seconds: float | None = None,
    ):
        if retry_seconds is not None:
            self.retry_seconds = retry_seconds
        self.reason, self.field, self.allowed = reason, field, _shortened(allowed, ALLOWED_CHARACTERS)
        self.value = "" if value is None else _shortened(ascii(value).strip("'"), VALUE_CHARACTERS)
        text = f"{field}: {message}" if field else message
        if value is not None:
            text += f"; got '{self.value}'"
        if allowed:
            text += f"; allowed: {self.allowed}"
        self.message = text
        super().__init__(text)

    @property
    def code_name(self) -> str:
        """Name of the canonical code, such as INVALID_ARGUMENT."""
        return str(code_pb2.Code.Name(self.code))


class InvalidArgument(ShowcauseError):
    code = code_pb2.INVALID_ARGUMENT


class NotFound(ShowcauseError):
    code = code_pb2.NOT_FOUND


class FailedPrecondition(ShowcauseError):
    code = code_pb2.FAILED_PRECONDITION


class Unauthenticated(ShowcauseError):
    code = code_pb2.UNAUTHENTICATED


class PermissionDenied(ShowcauseError):
    code = code_pb2.PERMISSION_DENIED


class DeadlineExceeded(ShowcauseError):
    code = code_pb2.DEADLINE_EXCEEDED


class ResourceExhausted(ShowcauseError):
    code = code_pb2.RESOURCE_EXHAUSTED
    retry_seconds = 1.0


class Unavailable(ShowcauseError):
    code = code_pb2.UNAVAILABLE
    retry_seconds = 1.0


class Internal(ShowcauseError):
    code = code_pb2.INTERNAL


BY_CODE: dict[int, type[ShowcauseError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        FailedPrecondition,
        Unauthenticated,
        PermissionDenied,
        DeadlineExceeded,
        ResourceExhausted,
        Unavailable,
        Internal,
    )
}


def out_of_range(field: str, value: object, allowed: str) -> InvalidArgument:
    """A parameter that has a value which is not allowed."""
    return InvalidArgument("PARAMETER_OUT_OF_RANGE", "not allowed", field=field, value=value, allowed=allowed)


def internal(request_id: str) -> Internal:
    """What a caller learns of a fault of ours."""
    return Internal("INTERNAL", f"internal error; request id {request_id or 'unknown'} finds it in the server's log")


def to_status(error: ShowcauseError) -> status_pb2.Status:
    """The error with its details: ErrorInfo always, BadRequest where a field is named, RetryInfo where it is of use."""
    status = status_pb2.Status(code=error.code, message=error.message)
    given = {"field": error.field, "value": error.value, "allowed": error.allowed}
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata={key: value for key, value in given.items() if value}
    )
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo] = [info]
    if error.retry_seconds:
        again = error_details_pb2.RetryInfo()
        again.retry_delay.FromNanoseconds(round(error.retry_seconds * 1e9))
        details.append(again)
    if error.field:
        violations = error_details_pb2.BadRequest()
        allowed = f"allowed: {error.allowed}" if error.allowed else error.reason
        violations.field_violations.add(field=error.field, description=allowed, reason=error.reason)
        details.append(violations)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def from_status(status: status_pb2.Status) -> ShowcauseError:
    """The inverse of ``to_status``; a code that is not ours becomes a plain ShowcauseError with that code."""
    info, again = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, again):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    given = {key: info.metadata.get(key, "") for key in ("field", "value", "allowed")}
    seconds = again.retry_delay.ToNanoseconds() / 1e9
    return restored(status.code, info.reason, status.message, **given, retry_seconds=seconds)


def restored(
    code: int, reason: str, message: str, *, field: str, value: str, allowed: str, retry_seconds: float = 0.0
) -> ShowcauseError:
    """An error from what was sent of it; the message is whole already."""
    error = BY_CODE.get(code, ShowcauseError)(reason, message, retry_seconds=retry_seconds)
    error.code, error.field, error.value, error.allowed = code, field, value, allowed
    return error


def from_rpc_error(error: grpc.RpcError) -> ShowcauseError:
    """What a client raises for a failed call: with our details where they came along."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return from_status(status_pb2.Status.FromString(value))
    code = error.code()
    kind = BY_CODE.get(code.value[0], ShowcauseError)
    reason = {"UNAVAILABLE": "ENGINE_UNAVAILABLE", "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED"}.get(code.name, code.name)
    failure = kind(reason, f"{code.name}: {error.details()}")
    failure.code = code.value[0]
    return failure


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
