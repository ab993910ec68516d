"""Two games that measure where a map points; neither needs a threshold.

The pointing game (Zhang et al., ECCV 2016 and IJCV 2018): a map scores where its strongest place lies inside an object
of the class. Photographers put objects in the middle, so the control is a point that is always there.

The grid pointing game (Boehle, Fritz, Schiele: CVPR 2021 and CVPR 2022): pictures of n x n classes are shown at once,
side by side; a class scores the share of its positive contribution that falls into its own cell. A map that knows
nothing scores 1 / n^2.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from showcause.outline import Grid
from showcause.reply import Point, Rectangle

Floats = NDArray[np.floating]

CONFIDENT = 0.5  # a grid's pictures are recognised with more than this
SMOOTHING = 15  # pixels a side of the average that the authors' code takes first


def strongest_place(values: Floats, grid: Grid) -> Point | None:
    """x and y, in photo pixels, of the largest value of a map (h, w); of equal ones the first from the top left.

    A unit that lies beside what is shown counts with the map's value at the edge. None where nothing is above 0: such a
    map points nowhere, and misses.
    """
    shown = grid.shown
    x, y = np.clip(grid.x, shown.x_min, shown.x_max), np.clip(grid.y, shown.y_min, shown.y_max)
    visible = grid.values(values, x, y)
    row, column = np.unravel_index(visible.argmax(), visible.shape)
    return (float(x[column]), float(y[row])) if visible[row, column] > 0 else None


def center(shown: Rectangle) -> Point:
    """The control's place, whatever the map."""
    return (shown.x_min + shown.x_max) / 2, (shown.y_min + shown.y_max) / 2


def hits(place: Point | None, objects: Sequence[Rectangle], tolerance_px: float = 0.0) -> bool:
    """Whether a place lies in one of the objects' boxes, edges included, or at most ``tolerance_px`` away from it.

    Published figures are mostly with 15 pixels, on photos of about 500 on the longest side; 0 asks for the box itself.
    """
    if place is None:
        return False
    x, y = place
    return any(
        math.hypot(max(box.x_min - x, 0.0, x - box.x_max), max(box.y_min - y, 0.0, y - box.y_max)) <= tolerance_px
        for box in objects
    )


def class_average(hit: Sequence[bool], classes: Sequence[Hashable]) -> float:
    """The pointing game's accuracy: the share of hits in each class, and the mean of those over classes."""
    if not classes:
        return math.nan
    by_class: dict[Hashable, list[bool]] = {}
    for one, name in zip(hit, classes, strict=True):
        by_class.setdefault(name, []).append(one)
    return float(np.mean([np.mean(some) for some in by_class.values()]))


def choose_grids(
    probabilities: Floats, labels: NDArray[np.integer], n: int, count: int, seed: int = 0
) -> list[tuple[int, ...]]:
    """Which pictures stand together: at most ``count`` grids, each n * n indices of distinct classes, in reading order.

    probabilities: (S, C). labels: (S,). Only pictures count whose class is the strongest, with more than ``CONFIDENT``.
    Each grid takes the most confident that are left, one a class; no picture stands in two. There are fewer grids where
    too few classes are left. Places in a grid are dealt out at random, lest the middle always get the same confidence.
    """
    confidence = probabilities[np.arange(len(labels)), labels]
    usable = (probabilities.argmax(1) == labels) & (confidence > CONFIDENT)
    ranked = np.argsort(-confidence, kind="stable")
    left = [int(index) for index in ranked if usable[index]]
    rng, grids = np.random.default_rng(seed), list[tuple[int, ...]]()
    while len(grids) < count:
        strongest: dict[int, int] = {}  # of each class, the strongest classes first
        for index in left:
            strongest.setdefault(int(labels[index]), index)
        chosen = list(strongest.values())[: n * n]
        if len(chosen) < n * n:
            break
        grids.append(tuple(chosen[place] for place in rng.permutation(n * n)))
        left = [index for index in left if index not in chosen]
    return grids


def compose(images: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    """n * n images (n * n, 3, h, w), in reading order, side by side: (3, n * h, n * w)."""
    count, channels, height, width = images.shape
    if count != n * n:
        raise ValueError(f"images are {count}; allowed: n * n = {n * n}")
    rows = images.reshape(n, n, channels, height, width).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(rows).reshape(channels, n * height, n * width)


def cell_shares(values: Floats, n: int, smoothing: int = SMOOTHING) -> Floats:
    """(n, n) share of the positive contribution in each cell of a grid; the score of a class is that of its own cell.

    values: (n * h, n * w) contributions, in pixels. They are averaged over ``smoothing`` x ``smoothing`` pixels, with 0
    beyond the border, and only then is what is negative left out, so that contributions beside each other that cancel
    count for nothing. smoothing: an odd number, 1 for none. All 0 where nothing is positive.
    """
    height, width = values.shape
    if height % n or width % n:
        raise ValueError(f"values have shape {values.shape}; allowed: multiples of n = {n}")
    positive = np.maximum(_smoothed(values, smoothing), 0.0)
    cells = positive.reshape(n, height // n, n, width // n).sum((1, 3))
    total = cells.sum()
    return cells / total if total > 0 else cells


def _smoothed(values: Floats, side: int) -> Floats:
    """The mean over side x side pixels around each, (h, w) -> (h, w)."""
    if side < 1 or side % 2 == 0:
        raise ValueError(f"smoothing is {side}; allowed: odd numbers from 1")
    found = np.pad(values.astype(np.float64), side // 2)
    for axis in (0, 1):
        found = np.lib.stride_tricks.sliding_window_view(found, side, axis=axis).mean(-1)
    return found
