from showcause.v1 import input_pb2 as _input_pb2
from showcause.v1 import method_pb2 as _method_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_UNAVAILABLE: _ClassVar[ModelState]
    MODEL_STATE_READY: _ClassVar[ModelState]

class ProbabilityKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROBABILITY_KIND_UNSPECIFIED: _ClassVar[ProbabilityKind]
    PROBABILITY_KIND_SOFTMAX: _ClassVar[ProbabilityKind]
    PROBABILITY_KIND_SIGMOID: _ClassVar[ProbabilityKind]
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_UNAVAILABLE: ModelState
MODEL_STATE_READY: ModelState
PROBABILITY_KIND_UNSPECIFIED: ProbabilityKind
PROBABILITY_KIND_SOFTMAX: ProbabilityKind
PROBABILITY_KIND_SIGMOID: ProbabilityKind

class Model(_message.Message):
    __slots__ = ("name", "version", "description", "network", "labels", "probability_kind", "input_width", "input_height", "preprocessing", "methods", "weights_sha256", "card", "state", "cost_seconds", "versions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_KIND_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    description: str
    network: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    probability_kind: ProbabilityKind
    input_width: int
    input_height: int
    preprocessing: _input_pb2.Preprocessing
    methods: _containers.RepeatedCompositeFieldContainer[MethodInfo]
    weights_sha256: str
    card: str
    state: ModelState
    cost_seconds: float
    versions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., description: _Optional[str] = ..., network: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., probability_kind: _Optional[_Union[ProbabilityKind, str]] = ..., input_width: _Optional[int] = ..., input_height: _Optional[int] = ..., preprocessing: _Optional[_Union[_input_pb2.Preprocessing, str]] = ..., methods: _Optional[_Iterable[_Union[MethodInfo, _Mapping]]] = ..., weights_sha256: _Optional[str] = ..., card: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., cost_seconds: _Optional[float] = ..., versions: _Optional[_Iterable[str]] = ...) -> None: ...

class MethodInfo(_message.Message):
    __slots__ = ("name", "kind", "cost_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _method_pb2.ExplanationKind
    cost_seconds: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_method_pb2.ExplanationKind, str]] = ..., cost_seconds: _Optional[float] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("index", "label", "logit", "probability")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    logit: float
    probability: float
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ..., logit: _Optional[float] = ..., probability: _Optional[float] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("model", "version", "weights_sha256", "input_sha256", "region", "preprocessing", "input_width", "input_height", "methods", "seed", "showcause_version", "runtime_version", "runtime", "device", "compute_dtype", "manifest_sha256", "labels_sha256", "parts_sha256", "chip_sha256", "maps_sha256")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SHOWCAUSE_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    LABELS_SHA256_FIELD_NUMBER: _ClassVar[int]
    PARTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    CHIP_SHA256_FIELD_NUMBER: _ClassVar[int]
    MAPS_SHA256_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    weights_sha256: str
    input_sha256: str
    region: _input_pb2.Rectangle
    preprocessing: _input_pb2.Preprocessing
    input_width: int
    input_height: int
    methods: _containers.RepeatedCompositeFieldContainer[MethodReceipt]
    seed: int
    showcause_version: str
    runtime_version: str
    runtime: str
    device: str
    compute_dtype: str
    manifest_sha256: str
    labels_sha256: str
    parts_sha256: str
    chip_sha256: str
    maps_sha256: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., input_sha256: _Optional[str] = ..., region: _Optional[_Union[_input_pb2.Rectangle, _Mapping]] = ..., preprocessing: _Optional[_Union[_input_pb2.Preprocessing, str]] = ..., input_width: _Optional[int] = ..., input_height: _Optional[int] = ..., methods: _Optional[_Iterable[_Union[MethodReceipt, _Mapping]]] = ..., seed: _Optional[int] = ..., showcause_version: _Optional[str] = ..., runtime_version: _Optional[str] = ..., runtime: _Optional[str] = ..., device: _Optional[str] = ..., compute_dtype: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., labels_sha256: _Optional[str] = ..., parts_sha256: _Optional[str] = ..., chip_sha256: _Optional[str] = ..., maps_sha256: _Optional[str] = ...) -> None: ...

class MethodReceipt(_message.Message):
    __slots__ = ("method", "method_version")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    METHOD_VERSION_FIELD_NUMBER: _ClassVar[int]
    method: _method_pb2.Method
    method_version: int
    def __init__(self, method: _Optional[_Union[_method_pb2.Method, _Mapping]] = ..., method_version: _Optional[int] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("decode_seconds", "forward_seconds", "explain_seconds", "render_seconds", "total_seconds", "batch_size")
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RENDER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    decode_seconds: float
    forward_seconds: float
    explain_seconds: float
    render_seconds: float
    total_seconds: float
    batch_size: int
    def __init__(self, decode_seconds: _Optional[float] = ..., forward_seconds: _Optional[float] = ..., explain_seconds: _Optional[float] = ..., render_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ..., batch_size: _Optional[int] = ...) -> None: ...
