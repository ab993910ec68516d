from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Dtype(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[Dtype]
    DTYPE_FLOAT32: _ClassVar[Dtype]
    DTYPE_FLOAT16: _ClassVar[Dtype]
    DTYPE_UINT8: _ClassVar[Dtype]

class Preprocessing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREPROCESSING_UNSPECIFIED: _ClassVar[Preprocessing]
    PREPROCESSING_SQUASH: _ClassVar[Preprocessing]
    PREPROCESSING_CENTER_CROP: _ClassVar[Preprocessing]
    PREPROCESSING_LETTERBOX: _ClassVar[Preprocessing]
DTYPE_UNSPECIFIED: Dtype
DTYPE_FLOAT32: Dtype
DTYPE_FLOAT16: Dtype
DTYPE_UINT8: Dtype
PREPROCESSING_UNSPECIFIED: Preprocessing
PREPROCESSING_SQUASH: Preprocessing
PREPROCESSING_CENTER_CROP: Preprocessing
PREPROCESSING_LETTERBOX: Preprocessing

class Input(_message.Message):
    __slots__ = ("image", "tensor", "region")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    tensor: Tensor
    region: Rectangle
    def __init__(self, image: _Optional[bytes] = ..., tensor: _Optional[_Union[Tensor, _Mapping]] = ..., region: _Optional[_Union[Rectangle, _Mapping]] = ...) -> None: ...

class Rectangle(_message.Message):
    __slots__ = ("x_min", "y_min", "x_max", "y_max")
    X_MIN_FIELD_NUMBER: _ClassVar[int]
    Y_MIN_FIELD_NUMBER: _ClassVar[int]
    X_MAX_FIELD_NUMBER: _ClassVar[int]
    Y_MAX_FIELD_NUMBER: _ClassVar[int]
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    def __init__(self, x_min: _Optional[float] = ..., y_min: _Optional[float] = ..., x_max: _Optional[float] = ..., y_max: _Optional[float] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("shape", "dtype", "data")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: Dtype
    data: bytes
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[_Union[Dtype, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class InputFrame(_message.Message):
    __slots__ = ("photo_width", "photo_height", "seen", "network_width", "network_height", "preprocessing")
    PHOTO_WIDTH_FIELD_NUMBER: _ClassVar[int]
    PHOTO_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    NETWORK_WIDTH_FIELD_NUMBER: _ClassVar[int]
    NETWORK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    photo_width: int
    photo_height: int
    seen: Rectangle
    network_width: int
    network_height: int
    preprocessing: Preprocessing
    def __init__(self, photo_width: _Optional[int] = ..., photo_height: _Optional[int] = ..., seen: _Optional[_Union[Rectangle, _Mapping]] = ..., network_width: _Optional[int] = ..., network_height: _Optional[int] = ..., preprocessing: _Optional[_Union[Preprocessing, str]] = ...) -> None: ...
