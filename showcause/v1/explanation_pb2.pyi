from showcause.v1 import input_pb2 as _input_pb2
from showcause.v1 import method_pb2 as _method_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PictureKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PICTURE_KIND_UNSPECIFIED: _ClassVar[PictureKind]
    PICTURE_KIND_HEAT_MAP: _ClassVar[PictureKind]
    PICTURE_KIND_OVERLAY: _ClassVar[PictureKind]
    PICTURE_KIND_COLOR: _ClassVar[PictureKind]
    PICTURE_KIND_TILES: _ClassVar[PictureKind]
PICTURE_KIND_UNSPECIFIED: PictureKind
PICTURE_KIND_HEAT_MAP: PictureKind
PICTURE_KIND_OVERLAY: PictureKind
PICTURE_KIND_COLOR: PictureKind
PICTURE_KIND_TILES: PictureKind

class OutputOptions(_message.Message):
    __slots__ = ("map", "pictures", "box")
    MAP_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    map: MapOptions
    pictures: _containers.RepeatedScalarFieldContainer[PictureKind]
    box: BoxOptions
    def __init__(self, map: _Optional[_Union[MapOptions, _Mapping]] = ..., pictures: _Optional[_Iterable[_Union[PictureKind, str]]] = ..., box: _Optional[_Union[BoxOptions, _Mapping]] = ...) -> None: ...

class MapOptions(_message.Message):
    __slots__ = ("dtype", "width", "height")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    dtype: _input_pb2.Dtype
    width: int
    height: int
    def __init__(self, dtype: _Optional[_Union[_input_pb2.Dtype, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class BoxOptions(_message.Message):
    __slots__ = ("threshold",)
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    def __init__(self, threshold: _Optional[float] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("method", "target", "kind", "evidence", "map", "pictures", "parts", "box", "weights", "box_threshold")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BOX_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    method: str
    target: ResolvedTarget
    kind: _method_pb2.ExplanationKind
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    map: Map
    pictures: _containers.RepeatedCompositeFieldContainer[Picture]
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    box: _input_pb2.Rectangle
    weights: _input_pb2.Tensor
    box_threshold: float
    def __init__(self, method: _Optional[str] = ..., target: _Optional[_Union[ResolvedTarget, _Mapping]] = ..., kind: _Optional[_Union[_method_pb2.ExplanationKind, str]] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., map: _Optional[_Union[Map, _Mapping]] = ..., pictures: _Optional[_Iterable[_Union[Picture, _Mapping]]] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., box: _Optional[_Union[_input_pb2.Rectangle, _Mapping]] = ..., weights: _Optional[_Union[_input_pb2.Tensor, _Mapping]] = ..., box_threshold: _Optional[float] = ...) -> None: ...

class ResolvedTarget(_message.Message):
    __slots__ = ("class_target", "neuron", "class_difference")
    CLASS_TARGET_FIELD_NUMBER: _ClassVar[int]
    NEURON_FIELD_NUMBER: _ClassVar[int]
    CLASS_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    class_target: ClassTarget
    neuron: _method_pb2.Neuron
    class_difference: ClassDifference
    def __init__(self, class_target: _Optional[_Union[ClassTarget, _Mapping]] = ..., neuron: _Optional[_Union[_method_pb2.Neuron, _Mapping]] = ..., class_difference: _Optional[_Union[ClassDifference, _Mapping]] = ...) -> None: ...

class ClassTarget(_message.Message):
    __slots__ = ("index", "label")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class ClassDifference(_message.Message):
    __slots__ = ("target", "versus")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    VERSUS_FIELD_NUMBER: _ClassVar[int]
    target: ClassTarget
    versus: ClassTarget
    def __init__(self, target: _Optional[_Union[ClassTarget, _Mapping]] = ..., versus: _Optional[_Union[ClassTarget, _Mapping]] = ...) -> None: ...

class Map(_message.Message):
    __slots__ = ("width", "height", "dtype", "data", "scale", "offset")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    dtype: _input_pb2.Dtype
    data: bytes
    scale: float
    offset: float
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., dtype: _Optional[_Union[_input_pb2.Dtype, str]] = ..., data: _Optional[bytes] = ..., scale: _Optional[float] = ..., offset: _Optional[float] = ...) -> None: ...

class Picture(_message.Message):
    __slots__ = ("kind", "png", "width", "height")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    kind: PictureKind
    png: bytes
    width: int
    height: int
    def __init__(self, kind: _Optional[_Union[PictureKind, str]] = ..., png: _Optional[bytes] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("filter", "layer", "category", "name", "name_agreement", "center", "box", "outlines", "activation", "contribution", "share", "name_chance")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    OUTLINES_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    NAME_CHANCE_FIELD_NUMBER: _ClassVar[int]
    filter: int
    layer: str
    category: str
    name: str
    name_agreement: float
    center: Point
    box: _input_pb2.Rectangle
    outlines: _containers.RepeatedCompositeFieldContainer[Polygon]
    activation: float
    contribution: float
    share: float
    name_chance: float
    def __init__(self, filter: _Optional[int] = ..., layer: _Optional[str] = ..., category: _Optional[str] = ..., name: _Optional[str] = ..., name_agreement: _Optional[float] = ..., center: _Optional[_Union[Point, _Mapping]] = ..., box: _Optional[_Union[_input_pb2.Rectangle, _Mapping]] = ..., outlines: _Optional[_Iterable[_Union[Polygon, _Mapping]]] = ..., activation: _Optional[float] = ..., contribution: _Optional[float] = ..., share: _Optional[float] = ..., name_chance: _Optional[float] = ...) -> None: ...

class Polygon(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("residual", "test_score", "deletion_insertion")
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    TEST_SCORE_FIELD_NUMBER: _ClassVar[int]
    DELETION_INSERTION_FIELD_NUMBER: _ClassVar[int]
    residual: Residual
    test_score: TestScore
    deletion_insertion: DeletionInsertion
    def __init__(self, residual: _Optional[_Union[Residual, _Mapping]] = ..., test_score: _Optional[_Union[TestScore, _Mapping]] = ..., deletion_insertion: _Optional[_Union[DeletionInsertion, _Mapping]] = ...) -> None: ...

class Residual(_message.Message):
    __slots__ = ("contribution_sum", "bias", "score", "relative_residual")
    CONTRIBUTION_SUM_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    contribution_sum: float
    bias: float
    score: float
    relative_residual: float
    def __init__(self, contribution_sum: _Optional[float] = ..., bias: _Optional[float] = ..., score: _Optional[float] = ..., relative_residual: _Optional[float] = ...) -> None: ...

class TestScore(_message.Message):
    __slots__ = ("measure", "value", "control_value", "photo_count")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTROL_VALUE_FIELD_NUMBER: _ClassVar[int]
    PHOTO_COUNT_FIELD_NUMBER: _ClassVar[int]
    measure: str
    value: float
    control_value: float
    photo_count: int
    def __init__(self, measure: _Optional[str] = ..., value: _Optional[float] = ..., control_value: _Optional[float] = ..., photo_count: _Optional[int] = ...) -> None: ...

class DeletionInsertion(_message.Message):
    __slots__ = ("deletion_area", "insertion_area", "step_count")
    DELETION_AREA_FIELD_NUMBER: _ClassVar[int]
    INSERTION_AREA_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    deletion_area: float
    insertion_area: float
    step_count: int
    def __init__(self, deletion_area: _Optional[float] = ..., insertion_area: _Optional[float] = ..., step_count: _Optional[int] = ...) -> None: ...
