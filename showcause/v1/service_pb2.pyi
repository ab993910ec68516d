from showcause.v1 import explanation_pb2 as _explanation_pb2
from showcause.v1 import input_pb2 as _input_pb2
from showcause.v1 import method_pb2 as _method_pb2
from showcause.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INPUT_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_NOT_DECODABLE: _ClassVar[ErrorReason]
    ERROR_REASON_INPUT_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_PARAMETER_OUT_OF_RANGE: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_LABEL_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_METHOD_NOT_AVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_ENGINE_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_REQUEST_MALFORMED: _ClassVar[ErrorReason]
    ERROR_REASON_REPLY_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_QUEUE_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_LAYER_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE_TOO_SHORT: _ClassVar[ErrorReason]
    ERROR_REASON_WORKER_DIED: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_TOKEN: _ClassVar[ErrorReason]
    ERROR_REASON_INSUFFICIENT_SCOPE: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_MANY_AT_ONCE: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_REFUSED: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INPUT_MISSING: ErrorReason
ERROR_REASON_IMAGE_NOT_DECODABLE: ErrorReason
ERROR_REASON_INPUT_TOO_LARGE: ErrorReason
ERROR_REASON_PARAMETER_OUT_OF_RANGE: ErrorReason
ERROR_REASON_MODEL_NOT_FOUND: ErrorReason
ERROR_REASON_LABEL_NOT_FOUND: ErrorReason
ERROR_REASON_METHOD_NOT_AVAILABLE: ErrorReason
ERROR_REASON_ENGINE_UNAVAILABLE: ErrorReason
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_REQUEST_MALFORMED: ErrorReason
ERROR_REASON_REPLY_TOO_LARGE: ErrorReason
ERROR_REASON_QUEUE_FULL: ErrorReason
ERROR_REASON_LAYER_NOT_FOUND: ErrorReason
ERROR_REASON_DEADLINE_TOO_SHORT: ErrorReason
ERROR_REASON_WORKER_DIED: ErrorReason
ERROR_REASON_INVALID_TOKEN: ErrorReason
ERROR_REASON_INSUFFICIENT_SCOPE: ErrorReason
ERROR_REASON_TOO_MANY_AT_ONCE: ErrorReason
ERROR_REASON_MODEL_REFUSED: ErrorReason

class ExplainRequest(_message.Message):
    __slots__ = ("model", "version", "input", "targets", "methods", "output", "prediction_count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    input: _input_pb2.Input
    targets: _containers.RepeatedCompositeFieldContainer[_method_pb2.Target]
    methods: _containers.RepeatedCompositeFieldContainer[_method_pb2.Method]
    output: _explanation_pb2.OutputOptions
    prediction_count: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., input: _Optional[_Union[_input_pb2.Input, _Mapping]] = ..., targets: _Optional[_Iterable[_Union[_method_pb2.Target, _Mapping]]] = ..., methods: _Optional[_Iterable[_Union[_method_pb2.Method, _Mapping]]] = ..., output: _Optional[_Union[_explanation_pb2.OutputOptions, _Mapping]] = ..., prediction_count: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("predictions", "probability_kind", "explanations", "frame", "receipt", "timings", "request_id", "agreements")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_KIND_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[_model_pb2.Prediction]
    probability_kind: _model_pb2.ProbabilityKind
    explanations: _containers.RepeatedCompositeFieldContainer[_explanation_pb2.Explanation]
    frame: _input_pb2.InputFrame
    receipt: _model_pb2.Receipt
    timings: _model_pb2.Timings
    request_id: str
    agreements: _containers.RepeatedCompositeFieldContainer[Agreement]
    def __init__(self, predictions: _Optional[_Iterable[_Union[_model_pb2.Prediction, _Mapping]]] = ..., probability_kind: _Optional[_Union[_model_pb2.ProbabilityKind, str]] = ..., explanations: _Optional[_Iterable[_Union[_explanation_pb2.Explanation, _Mapping]]] = ..., frame: _Optional[_Union[_input_pb2.InputFrame, _Mapping]] = ..., receipt: _Optional[_Union[_model_pb2.Receipt, _Mapping]] = ..., timings: _Optional[_Union[_model_pb2.Timings, _Mapping]] = ..., request_id: _Optional[str] = ..., agreements: _Optional[_Iterable[_Union[Agreement, _Mapping]]] = ...) -> None: ...

class Agreement(_message.Message):
    __slots__ = ("target", "method", "other_method", "rank_correlation")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OTHER_METHOD_FIELD_NUMBER: _ClassVar[int]
    RANK_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    target: _explanation_pb2.ResolvedTarget
    method: str
    other_method: str
    rank_correlation: float
    def __init__(self, target: _Optional[_Union[_explanation_pb2.ResolvedTarget, _Mapping]] = ..., method: _Optional[str] = ..., other_method: _Optional[str] = ..., rank_correlation: _Optional[float] = ...) -> None: ...

class ExplainStreamRequest(_message.Message):
    __slots__ = ("id", "request")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    id: str
    request: ExplainRequest
    def __init__(self, id: _Optional[str] = ..., request: _Optional[_Union[ExplainRequest, _Mapping]] = ...) -> None: ...

class ExplainStreamResponse(_message.Message):
    __slots__ = ("id", "response", "error", "progress")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    id: str
    response: ExplainResponse
    error: StreamError
    progress: Progress
    def __init__(self, id: _Optional[str] = ..., response: _Optional[_Union[ExplainResponse, _Mapping]] = ..., error: _Optional[_Union[StreamError, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ...) -> None: ...

class StreamError(_message.Message):
    __slots__ = ("code", "message", "reason", "field", "value", "allowed", "retry_delay_seconds")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: ErrorReason
    field: str
    value: str
    allowed: str
    retry_delay_seconds: float
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[_Union[ErrorReason, str]] = ..., field: _Optional[str] = ..., value: _Optional[str] = ..., allowed: _Optional[str] = ..., retry_delay_seconds: _Optional[float] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("method", "done_count", "slice_count")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    DONE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLICE_COUNT_FIELD_NUMBER: _ClassVar[int]
    method: str
    done_count: int
    slice_count: int
    def __init__(self, method: _Optional[str] = ..., done_count: _Optional[int] = ..., slice_count: _Optional[int] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "version", "input", "prediction_count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    input: _input_pb2.Input
    prediction_count: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., input: _Optional[_Union[_input_pb2.Input, _Mapping]] = ..., prediction_count: _Optional[int] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("predictions", "probability_kind", "frame", "receipt", "timings", "request_id")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_KIND_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[_model_pb2.Prediction]
    probability_kind: _model_pb2.ProbabilityKind
    frame: _input_pb2.InputFrame
    receipt: _model_pb2.Receipt
    timings: _model_pb2.Timings
    request_id: str
    def __init__(self, predictions: _Optional[_Iterable[_Union[_model_pb2.Prediction, _Mapping]]] = ..., probability_kind: _Optional[_Union[_model_pb2.ProbabilityKind, str]] = ..., frame: _Optional[_Union[_input_pb2.InputFrame, _Mapping]] = ..., receipt: _Optional[_Union[_model_pb2.Receipt, _Mapping]] = ..., timings: _Optional[_Union[_model_pb2.Timings, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[_model_pb2.Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.Model
    def __init__(self, model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ...) -> None: ...

class GetChannelImportanceRequest(_message.Message):
    __slots__ = ("model", "version", "layer", "classes", "channel_count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    layer: str
    classes: _containers.RepeatedCompositeFieldContainer[_method_pb2.ClassReference]
    channel_count: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., layer: _Optional[str] = ..., classes: _Optional[_Iterable[_Union[_method_pb2.ClassReference, _Mapping]]] = ..., channel_count: _Optional[int] = ...) -> None: ...

class GetChannelImportanceResponse(_message.Message):
    __slots__ = ("layer", "distilled_layers", "classes", "overlap", "chip_sha256")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    DISTILLED_LAYERS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    CHIP_SHA256_FIELD_NUMBER: _ClassVar[int]
    layer: str
    distilled_layers: _containers.RepeatedScalarFieldContainer[str]
    classes: _containers.RepeatedCompositeFieldContainer[ClassChannels]
    overlap: _containers.RepeatedScalarFieldContainer[float]
    chip_sha256: str
    def __init__(self, layer: _Optional[str] = ..., distilled_layers: _Optional[_Iterable[str]] = ..., classes: _Optional[_Iterable[_Union[ClassChannels, _Mapping]]] = ..., overlap: _Optional[_Iterable[float]] = ..., chip_sha256: _Optional[str] = ...) -> None: ...

class ClassChannels(_message.Message):
    __slots__ = ("class_target", "channels", "nonzero_count", "channel_count")
    CLASS_TARGET_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    NONZERO_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    class_target: _explanation_pb2.ClassTarget
    channels: _containers.RepeatedCompositeFieldContainer[ChannelImportance]
    nonzero_count: int
    channel_count: int
    def __init__(self, class_target: _Optional[_Union[_explanation_pb2.ClassTarget, _Mapping]] = ..., channels: _Optional[_Iterable[_Union[ChannelImportance, _Mapping]]] = ..., nonzero_count: _Optional[int] = ..., channel_count: _Optional[int] = ...) -> None: ...

class ChannelImportance(_message.Message):
    __slots__ = ("channel", "weight")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    channel: int
    weight: float
    def __init__(self, channel: _Optional[int] = ..., weight: _Optional[float] = ...) -> None: ...
