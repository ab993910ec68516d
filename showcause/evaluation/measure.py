"""Everything that is measured of one category's filters, and its average over categories."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showcause.evaluation import location
from showcause.evaluation.interpretability import STATISTICS, interpretability, part_association, part_overlaps
from showcause.evaluation.location import SILENT, Stability, mean, stability

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class CategoryMeasures:
    """interpretability: mean over the alive filters of P_f. interpretability_max: the same with the printed maximum
    over pictures. NaN where no maps were given, or nothing could be measured.
    """

    stability: Stability
    interpretability: float
    interpretability_max: float


@dataclass(frozen=True)
class Regions:
    """What part interpretability needs besides. maps: (S, K, n, n) as the head sees them. thresholds: (K,), from
    ``activation_thresholds`` over all pictures. weights: (frame, n), from ``up_scaling``.
    """

    maps: Floats
    thresholds: Floats
    weights: Floats


def measure_category(
    places: Floats,
    scores: Floats,
    boxes: Floats,
    size_px: ArrayLike,
    regions: Regions | None = None,
    population: bool = False,
    seed: int = 0,
) -> CategoryMeasures:
    """Measures the filters of one category on its pictures.

    places: (S, K, 2) row and column of each filter's peak. scores: (S, K) its height. boxes: (P, S, 4) of the parts:
    centre row and column, height, width, NaN where absent. All in pixels of the frame, whose size is ``size_px``
    (height, width). regions: without them, part interpretability is not measured.
    """
    found = stability(places, scores, boxes[..., :2], size_px, population, seed)
    values = [float("nan")] * 2
    if regions is not None:
        alive = (scores > SILENT).any(0)
        overlaps = part_overlaps(regions.maps[:, alive], regions.thresholds[alive], boxes, regions.weights)
        values = [mean(interpretability(part_association(overlaps, statistic=kind))) for kind in STATISTICS]
    return CategoryMeasures(found, *values)


def average(categories: Sequence[CategoryMeasures], by_filter: bool = False) -> CategoryMeasures:
    """See ``showcause.evaluation.location.average``."""
    weights = [float(one.stability.alive) if by_filter else 1.0 for one in categories]
    return CategoryMeasures(
        location.average([one.stability for one in categories], by_filter),
        mean([one.interpretability for one in categories], weights),
        mean([one.interpretability_max for one in categories], weights),
    )
