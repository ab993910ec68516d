"""How well two maps of the same photo agree. numpy only, no torch.

Nothing here is a matrix product (``@``): numpy's threads for those spin for 0.1 s afterwards, on cores that a worker's
next photos want, which then take twice as long. ``einsum`` is plain loops.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
DIGITS = 12  # of the largest value: averages that differ by less do so by rounding


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation of two maps (h, w) that cover the same rectangle evenly; -1 to 1.

    Along each axis the map that is finer there is averaged to the other's size, by area. Values that are the same share
    their mean rank. 0.0 where one of the maps is the same everywhere (by then): it agrees with nothing. ValueError for
    what is not a map of finite numbers.
    """
    return rank_correlations([one, other])[0, 1]


def rank_correlations(maps: Sequence[Floats]) -> dict[tuple[int, int], float]:
    """``rank_correlation`` of every two maps, by their positions; what is ranked at one size is ranked once."""
    for position, values in enumerate(maps):
        if values.ndim != 2 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"map {position} has shape {values.shape}; allowed: (h, w), not empty, of finite numbers")

    @cache
    def ranks(position: int, height: int, width: int) -> Floats:
        return _ranks(averaged(maps[position], height, width))

    found = {}
    for one, other in combinations(range(len(maps)), 2):
        height, width = (min(sizes) for sizes in zip(maps[one].shape, maps[other].shape, strict=True))
        a, b = ranks(one, height, width), ranks(other, height, width)
        scale = np.sqrt(np.sum(a * a) * np.sum(b * b))
        found[one, other] = float(np.clip(np.sum(a * b) / scale, -1.0, 1.0)) if scale > 0 else 0.0
    return found


def averaged(values: Floats, height: int, width: int) -> Floats:
    """A map (h, w) as means over height x width equal cells; a unit that cells share counts by its part in each."""
    if values.shape == (height, width):
        return values
    rows = np.einsum("ch,hw->cw", _shares(values.shape[0], height), values.astype(np.float64))
    found: Floats = np.einsum("cw,dw->cd", rows, _shares(values.shape[1], width))
    largest = np.abs(found).max()
    return np.round(found / largest, DIGITS) * largest if largest > 0 else found


def _shares(units: int, cells: int) -> Floats:
    """(cells, units): how much each unit counts in the mean of a cell."""
    # In parts so small that units and cells are both whole numbers of them, so that the overlaps are exact.
    unit, cell = np.arange(units) * cells, np.arange(cells)[:, None] * units
    overlap = np.minimum(unit + cells, cell + units) - np.maximum(unit, cell)
    return np.maximum(overlap, 0) / units


def _ranks(values: Floats) -> Floats:
    """(h * w,) ranks, their mean taken away."""
    _, which, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which.ravel()]
    return ranks - (values.size + 1) / 2
