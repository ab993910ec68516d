from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Call(_message.Message):
    __slots__ = ("operation", "request", "deadline", "request_id", "ticket")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    operation: str
    request: bytes
    deadline: float
    request_id: str
    ticket: str
    def __init__(self, operation: _Optional[str] = ..., request: _Optional[bytes] = ..., deadline: _Optional[float] = ..., request_id: _Optional[str] = ..., ticket: _Optional[str] = ...) -> None: ...
