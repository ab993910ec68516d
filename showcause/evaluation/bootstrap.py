"""How far a mean over pictures can be trusted: the percentile bootstrap (Efron and Tibshirani, 1993, chapter 13)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, and between which values it lies in 95% of the draws; NaN where there is nothing to measure."""

    value: float
    low: float
    high: float
    count: int  # of pictures


def bootstrap(values: ArrayLike, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of values (S,), one a picture, and its interval over as many pictures drawn with replacement.

    Two methods on the same pictures are compared by the interval of their difference, picture by picture (the paired
    bootstrap): ``bootstrap(one - other)``. That is much narrower than their own two intervals suggest.
    """
    numbers = np.asarray(values, float)
    count = len(numbers)
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    means = [numbers[rng.integers(count, size=count)].mean() for _ in range(draws)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(numbers.mean()), float(low), float(high), count)
