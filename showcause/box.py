"""The weakly supervised box of a map: where in the photo is what the map points at? numpy only, no torch.

As Zhou et al. (CVPR 2016, section 3) and the papers after them measure localisation: what lies above a fraction of the
map's maximum, and of that the box around the largest connected component.

Maps of every size go the same way, and in a few milliseconds: following level lines, as ``outline`` does, takes up to
a third of a second for a noisy map of pixels. The map is sampled where it lies in the photo: at its units, between them
if they are few, and at the edges of what is shown. Samples above the level are joined to those beside, above and below
them, not across corners, which is how level lines join them too. A box ends where the level is crossed on the way to
the next sample, so that it is not quantised, and is the one around the ``outline`` where both take the same level.
"""

import numpy as np
from numpy.typing import NDArray

from showcause.outline import FINE, FloatArray, Grid, shown_of
from showcause.render import smoothed
from showcause.reply import InputFrame, Rectangle

UNITS = 64  # a side; maps of more are maps of pixels
SPREAD = 0.05  # standard deviation that those are smoothed with, as a share of their longest side
ENOUGH = 256  # samples a side: maps of up to 64 units are sampled FINE to a unit, those of more than 128 once

EQUAL = 1 - 1e-9  # areas closer than this differ by rounding


def stretched(frame: InputFrame, height: int, width: int) -> Grid:
    """The grid of a map (height, width) that covers what the network saw evenly.

    The centre of column j lies at (j + 0.5) / width of it: pixels of the network's input, and maps resized to it.
    """
    seen = frame.seen
    return Grid(
        seen.x_min + (np.arange(width) + 0.5) * (seen.width / width),
        seen.y_min + (np.arange(height) + 0.5) * (seen.height / height),
        shown_of(frame),
    )


def box_of(values: FloatArray, grid: Grid, threshold: float) -> Rectangle | None:
    """The weakly supervised box of a method's map: ``weak_box``, of a map of pixels once it is smoothed.

    Neighbouring pixels of a gradient have little in common, so that its largest piece is a speck. How much to smooth
    was chosen on the Animal-Part val photos for gradient and guided backpropagation.
    """
    return weak_box(smoothed(values, SPREAD) if max(values.shape) > UNITS else values, grid, threshold)


def weak_box(values: FloatArray, grid: Grid, threshold: float) -> Rectangle | None:
    """The box around the largest piece of what is above ``threshold`` times the map's maximum; in photo pixels.

    values: (h, w), at the places of ``grid``; bilinear between them, constant beyond the outermost. threshold: at least
    0, where everything above 0 counts, and less than 1. Maximum and pieces are those of what is shown: in a letterbox
    the grey beside the photo counts for nothing. Largest is by area in the photo, holes left out; of equal ones the
    first from the top. None where nothing is above 0. ValueError for another threshold, and for NaN and infinity.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}; allowed: at least 0 and less than 1")
    if not np.isfinite(values).all():
        raise ValueError("values hold NaN or infinity; allowed: finite numbers")
    x, y, fine = grid.sampled(values, min(FINE, max(1, ENOUGH // max(values.shape))))
    peak = fine.max()
    if peak <= 0:
        return None
    fine = fine / peak
    numbers = components(fine > threshold)
    areas = np.bincount(numbers.ravel(), weights=np.outer(_extents(y), _extents(x)).ravel())
    areas[0] = 0.0
    piece = numbers == (areas > areas.max() * EQUAL).argmax()
    return Rectangle(
        _start(piece, fine, x, threshold),
        _start(piece.T, fine.T, y, threshold),
        _start(piece[:, ::-1], fine[:, ::-1], x[::-1], threshold),
        _start(piece.T[:, ::-1], fine.T[:, ::-1], y[::-1], threshold),
    )


def components(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Numbers the connected pieces of a mask (h, w), joined along rows and columns; 0 where it is False.

    Numbers grow from the top and are not consecutive. Runs along rows are the nodes of a graph, and those that touch
    in the next row its edges. Every edge links the higher of its two roots to the lower, all of them at once, until no
    edge is left between two roots: the number of rounds grows with the logarithm of that of runs, more or less.
    """
    starts = inside.copy()
    starts[:, 1:] &= ~inside[:, :-1]
    runs: NDArray[np.intp] = np.where(inside, np.cumsum(starts).reshape(inside.shape), 0)
    touching = inside[:-1] & inside[1:]
    touching[:, 1:] &= ~touching[:, :-1]  # once for every two runs
    upper, lower = runs[:-1][touching], runs[1:][touching]
    root = np.arange(runs.max(initial=0) + 1)
    while True:
        one, other = root[upper], root[lower]
        apart = one != other
        if not apart.any():
            return root[runs]
        upper, lower, one, other = upper[apart], lower[apart], one[apart], other[apart]
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while (root[root] != root).any():
            root = root[root]


def _extents(places: FloatArray) -> FloatArray:
    """How much of the photo each sample stands for: half way to its neighbours."""
    return np.diff(np.concatenate([places[:1], (places[1:] + places[:-1]) / 2, places[-1:]]))


def _start(piece: NDArray[np.bool_], fine: FloatArray, places: FloatArray, level: float) -> float:
    """Where a piece begins along the second axis, whose samples lie at ``places``."""
    first = int(piece.any(0).argmax())
    if first == 0:
        return float(places[0])
    rows = piece[:, first]
    inner, outer = fine[rows, first], fine[rows, first - 1]
    share = ((inner - level) / (inner - outer)).max()  # of the way out to the neighbour, which is not above the level
    return float(places[first] - share * (places[first] - places[first - 1]))
