from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("response", "failure", "cost_seconds", "stage_seconds", "batch_size", "first_of_batch", "receipt_sha256", "residuals")
    class CostSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class StageSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ResidualsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    COST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STAGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    FIRST_OF_BATCH_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_SHA256_FIELD_NUMBER: _ClassVar[int]
    RESIDUALS_FIELD_NUMBER: _ClassVar[int]
    response: bytes
    failure: bytes
    cost_seconds: _containers.ScalarMap[str, float]
    stage_seconds: _containers.ScalarMap[str, float]
    batch_size: int
    first_of_batch: bool
    receipt_sha256: str
    residuals: _containers.ScalarMap[str, float]
    def __init__(self, response: _Optional[bytes] = ..., failure: _Optional[bytes] = ..., cost_seconds: _Optional[_Mapping[str, float]] = ..., stage_seconds: _Optional[_Mapping[str, float]] = ..., batch_size: _Optional[int] = ..., first_of_batch: bool = ..., receipt_sha256: _Optional[str] = ..., residuals: _Optional[_Mapping[str, float]] = ...) -> None: ...
