"""Maps of n x n places, scaled up to a frame of pixels by receptive-field arithmetic."""

import numpy as np
from numpy.typing import NDArray

from showcause.layers.receptive_field import ReceptiveField

Floats = NDArray[np.floating]


def scaled_field(field: ReceptiveField, input_px: int, frame_px: int) -> ReceptiveField:
    """The same field in pixels of a frame that the network's input was resized from (or stands for)."""
    scale = frame_px / input_px
    return ReceptiveField(field.size * scale, field.jump * scale, field.center * scale)


def up_scaling(field: ReceptiveField, n: int, frame_px: int) -> Floats:
    """(frame_px, n) bilinear weights: ``w @ x @ w.T`` is the map x (n, n) in the frame.

    The centre of a unit's field has the unit's own value, what lies between two centres a mixture, and what lies
    beyond the outermost ones theirs. Each row sums to 1. field: in pixels of the frame.
    """
    at = np.clip((np.arange(frame_px) + 0.5 - field.center) / field.jump, 0, n - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(n)), 0, None)


def scaled_up(maps: Floats, weights: Floats) -> Floats:
    """(..., n, n) -> (..., frame, frame); weights: from ``up_scaling``."""
    return weights @ maps @ weights.T
