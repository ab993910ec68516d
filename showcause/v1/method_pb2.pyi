from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplanationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLANATION_KIND_UNSPECIFIED: _ClassVar[ExplanationKind]
    EXPLANATION_KIND_INHERENT: _ClassVar[ExplanationKind]
    EXPLANATION_KIND_POST_HOC: _ClassVar[ExplanationKind]
EXPLANATION_KIND_UNSPECIFIED: ExplanationKind
EXPLANATION_KIND_INHERENT: ExplanationKind
EXPLANATION_KIND_POST_HOC: ExplanationKind

class Method(_message.Message):
    __slots__ = ("linear_map", "filter_parts", "chip", "refined_chip", "guided_chip", "cam", "grad_cam", "gradient", "input_x_gradient", "guided_backprop", "guided_grad_cam")
    LINEAR_MAP_FIELD_NUMBER: _ClassVar[int]
    FILTER_PARTS_FIELD_NUMBER: _ClassVar[int]
    CHIP_FIELD_NUMBER: _ClassVar[int]
    REFINED_CHIP_FIELD_NUMBER: _ClassVar[int]
    GUIDED_CHIP_FIELD_NUMBER: _ClassVar[int]
    CAM_FIELD_NUMBER: _ClassVar[int]
    GRAD_CAM_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_FIELD_NUMBER: _ClassVar[int]
    INPUT_X_GRADIENT_FIELD_NUMBER: _ClassVar[int]
    GUIDED_BACKPROP_FIELD_NUMBER: _ClassVar[int]
    GUIDED_GRAD_CAM_FIELD_NUMBER: _ClassVar[int]
    linear_map: LinearMap
    filter_parts: FilterParts
    chip: Chip
    refined_chip: RefinedChip
    guided_chip: GuidedChip
    cam: Cam
    grad_cam: GradCam
    gradient: Gradient
    input_x_gradient: InputXGradient
    guided_backprop: GuidedBackprop
    guided_grad_cam: GuidedGradCam
    def __init__(self, linear_map: _Optional[_Union[LinearMap, _Mapping]] = ..., filter_parts: _Optional[_Union[FilterParts, _Mapping]] = ..., chip: _Optional[_Union[Chip, _Mapping]] = ..., refined_chip: _Optional[_Union[RefinedChip, _Mapping]] = ..., guided_chip: _Optional[_Union[GuidedChip, _Mapping]] = ..., cam: _Optional[_Union[Cam, _Mapping]] = ..., grad_cam: _Optional[_Union[GradCam, _Mapping]] = ..., gradient: _Optional[_Union[Gradient, _Mapping]] = ..., input_x_gradient: _Optional[_Union[InputXGradient, _Mapping]] = ..., guided_backprop: _Optional[_Union[GuidedBackprop, _Mapping]] = ..., guided_grad_cam: _Optional[_Union[GuidedGradCam, _Mapping]] = ...) -> None: ...

class LinearMap(_message.Message):
    __slots__ = ("include_weights", "smoothing_px", "opacity_percentile")
    INCLUDE_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_PX_FIELD_NUMBER: _ClassVar[int]
    OPACITY_PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    include_weights: bool
    smoothing_px: int
    opacity_percentile: float
    def __init__(self, include_weights: bool = ..., smoothing_px: _Optional[int] = ..., opacity_percentile: _Optional[float] = ...) -> None: ...

class FilterParts(_message.Message):
    __slots__ = ("part_count", "minimum_share", "include_negative")
    PART_COUNT_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_SHARE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    part_count: int
    minimum_share: float
    include_negative: bool
    def __init__(self, part_count: _Optional[int] = ..., minimum_share: _Optional[float] = ..., include_negative: bool = ...) -> None: ...

class Chip(_message.Message):
    __slots__ = ("layer",)
    LAYER_FIELD_NUMBER: _ClassVar[int]
    layer: str
    def __init__(self, layer: _Optional[str] = ...) -> None: ...

class RefinedChip(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GuidedChip(_message.Message):
    __slots__ = ("layer",)
    LAYER_FIELD_NUMBER: _ClassVar[int]
    layer: str
    def __init__(self, layer: _Optional[str] = ...) -> None: ...

class Cam(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GradCam(_message.Message):
    __slots__ = ("layer", "keep_negative")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    KEEP_NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    layer: str
    keep_negative: bool
    def __init__(self, layer: _Optional[str] = ..., keep_negative: bool = ...) -> None: ...

class Gradient(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InputXGradient(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GuidedBackprop(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GuidedGradCam(_message.Message):
    __slots__ = ("layer",)
    LAYER_FIELD_NUMBER: _ClassVar[int]
    layer: str
    def __init__(self, layer: _Optional[str] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("class_index", "label", "top_k", "neuron", "difference")
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    NEURON_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    class_index: int
    label: str
    top_k: int
    neuron: Neuron
    difference: Difference
    def __init__(self, class_index: _Optional[int] = ..., label: _Optional[str] = ..., top_k: _Optional[int] = ..., neuron: _Optional[_Union[Neuron, _Mapping]] = ..., difference: _Optional[_Union[Difference, _Mapping]] = ...) -> None: ...

class Neuron(_message.Message):
    __slots__ = ("layer", "channel", "place")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    layer: str
    channel: int
    place: Place
    def __init__(self, layer: _Optional[str] = ..., channel: _Optional[int] = ..., place: _Optional[_Union[Place, _Mapping]] = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("row", "column")
    ROW_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    row: int
    column: int
    def __init__(self, row: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("target", "versus")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    VERSUS_FIELD_NUMBER: _ClassVar[int]
    target: ClassReference
    versus: ClassReference
    def __init__(self, target: _Optional[_Union[ClassReference, _Mapping]] = ..., versus: _Optional[_Union[ClassReference, _Mapping]] = ...) -> None: ...

class ClassReference(_message.Message):
    __slots__ = ("class_index", "label")
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    class_index: int
    label: str
    def __init__(self, class_index: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...
