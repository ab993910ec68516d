"""Filter parts the slow way: one filter, one place and one photo pixel at a time."""

import numpy as np


def contributions(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each filter at each place, (K, n, n), by the linear head, for one class; maps (K, n, n), weights (K,)."""
    filters, n, _ = maps.shape
    found = np.zeros(maps.shape)
    for k in range(filters):
        for i in range(n):
            for j in range(n):
                found[k, i, j] = float(maps[k, i, j]) * float(weights[k]) / n
    return found


def listed(
    maps: np.ndarray, given: np.ndarray, part_count: int, minimum_share: float, include_negative: bool
) -> list[tuple[int, float, float]]:
    """(filter, contribution, share) of the parts of a photo; given: (K, n, n) from ``contributions``."""
    sums = [float(given[k].sum()) for k in range(len(given))]
    total = 0.0
    for value in sums:
        total += abs(value)
    parts = []
    for k, value in enumerate(sums):
        fired = any(activation > 0 for activation in maps[k].ravel())
        wanted = value > 0 or (include_negative and value < 0)
        if fired and wanted and abs(value / total) >= minimum_share:
            parts.append((k, value, value / total))
    parts.sort(key=lambda part: -abs(part[1]))
    return parts[:part_count]


def value_at(values: np.ndarray, units_x: np.ndarray, units_y: np.ndarray, x: float, y: float) -> float:
    """A map (n, n) between its units, bilinear; beyond the outermost as it is there."""

    def neighbours(units: np.ndarray, at: float) -> list[tuple[int, float]]:
        if at <= units[0]:
            return [(0, 1.0)]
        for i in range(len(units) - 1):
            if at <= units[i + 1]:
                share = (at - units[i]) / (units[i + 1] - units[i])
                return [(i, 1 - share), (i + 1, share)]
        return [(len(units) - 1, 1.0)]

    return sum(a * b * float(values[i, j]) for i, a in neighbours(units_y, y) for j, b in neighbours(units_x, x))


def is_inside(polygon: tuple[tuple[float, float], ...], x: float, y: float) -> bool:
    """Whether a ray to the right crosses the polygon an odd number of times."""
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def pieces(mask: np.ndarray) -> int:
    """How many connected pieces a mask has; places are joined to those beside, above and below them."""
    left, count = {tuple(place) for place in np.argwhere(mask)}, 0
    while left:
        count += 1
        pending = [left.pop()]
        while pending:
            i, j = pending.pop()
            for place in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if place in left:
                    left.remove(place)
                    pending.append(place)
    return count
