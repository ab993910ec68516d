"""The contract's numbers for what plain data names. Imports no torch."""

from collections.abc import Mapping

import numpy as np

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
    "tiles": explanation_pb2.PICTURE_KIND_TILES,
}
DTYPES: dict[int, np.dtype[np.generic]] = {
    input_pb2.DTYPE_UNSPECIFIED: np.dtype("<f4"),
    input_pb2.DTYPE_FLOAT32: np.dtype("<f4"),
    input_pb2.DTYPE_FLOAT16: np.dtype("<f2"),
    input_pb2.DTYPE_UINT8: np.dtype("u1"),
}
REASONS = {name.removeprefix("ERROR_REASON_"): number for name, number in service_pb2.ErrorReason.items()}


def name_of(numbers: Mapping[str, int], number: int) -> str:
    """The key of ``number`` in one of the tables above; "" where it has none."""
    return next((name for name, value in numbers.items() if value == number), "")
