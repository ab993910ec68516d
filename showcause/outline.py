"""Where in the photo a filter fired: from a small map to boxes and outlines in photo pixels. Imports no torch.

A map's units sit at the centres of their receptive fields. Between them the activation is interpolated bilinearly;
beyond the outermost ones it stays what it is there. The outline is the level line of half the map's maximum, by
marching squares (Lorensen and Cline, SIGGRAPH 1987, in two dimensions).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from showcause.reply import InputFrame, Part, Polygon, Rectangle

FloatArray = NDArray[np.floating]

LEVEL = 0.5  # of a map's maximum
FINE = 4  # steps from one unit to the next in which a level line is followed

# Where a level line enters and leaves a square of four samples, by the sum over the corners that are inside of 1 (top
# left), 2 (top right), 4 (bottom right) and 8 (bottom left); what is inside lies on its right. Sides are 0 (top), 1
# (right), 2 (bottom) and 3 (left). Corners that face each other (5, 10) are not joined: such a square is crossed twice.
ENTER = np.array([0, 0, 1, 1, 2, 0, 2, 2, 3, 0, 1, 1, 3, 0, 3, 0])
LEAVE = np.array([0, 3, 0, 3, 1, 3, 0, 3, 2, 2, 0, 2, 1, 1, 0, 0])
ENTER_AGAIN, LEAVE_AGAIN = np.zeros(16, int), np.zeros(16, int)
ENTER_AGAIN[[5, 10]], LEAVE_AGAIN[[5, 10]] = [2, 3], [1, 2]


@dataclass(frozen=True)
class Grid:
    """Where a map's units lie. x (w,), y (h,): centres of the columns and rows, in photo pixels, evenly spaced.

    shown: the part of the photo that the network saw; edges in photo pixels.
    """

    x: FloatArray
    y: FloatArray
    shown: Rectangle

    def values(self, maps: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
        """Maps (..., h, w) interpolated at columns ``x`` (k,) and rows ``y`` (m,): (..., m, k)."""
        found: FloatArray = _hats(self.y, y) @ maps @ _hats(self.x, x).T
        return found

    def sampled(self, maps: FloatArray, steps: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Maps (..., h, w) as far as they are shown: at units, at ``steps`` - 1 places between each two, and at edges.

        Returns the columns x (k,), the rows y (m,) and the values (..., m, k).
        """
        x = _samples(self.x, self.shown.x_min, self.shown.x_max, steps)
        y = _samples(self.y, self.shown.y_min, self.shown.y_max, steps)
        return x, y, self.values(maps, x, y)

    def place(self, row: int, column: int) -> tuple[float, float]:
        """x and y of a unit, at the edge where it lies beyond what is shown."""
        shown = self.shown
        x = float(np.clip(self.x[column], shown.x_min, shown.x_max))
        return x, float(np.clip(self.y[row], shown.y_min, shown.y_max))


@dataclass(frozen=True)
class Located:
    """A part, and for its pictures the masked map (n, n) that it was read from."""

    part: Part
    map: FloatArray
    grid: Grid


def grid_over(frame: InputFrame, center: float, jump: float, count: int) -> Grid:
    """The grid of a layer with ``count`` units along each axis; center, jump: a ``ReceptiveField``, in input pixels."""
    seen, at = frame.seen, center + jump * np.arange(count)
    return Grid(
        seen.x_min + at * (seen.width / frame.network_width),
        seen.y_min + at * (seen.height / frame.network_height),
        shown_of(frame),
    )


def shown_of(frame: InputFrame) -> Rectangle:
    """The part of the photo that the network saw: a letterbox sees more than the photo."""
    seen = frame.seen
    if not frame.photo_width:
        return seen
    return Rectangle(
        max(seen.x_min, 0.0),
        max(seen.y_min, 0.0),
        min(seen.x_max, float(frame.photo_width)),
        min(seen.y_max, float(frame.photo_height)),
    )


def outlines(maps: FloatArray, grid: Grid) -> list[tuple[Polygon, ...]]:
    """For each map (m, n, n) its outlines, largest first: one polygon for each connected piece, holes filled.

    Each map must be above 0 somewhere. Outlines end where the photo does, or what was seen of it; there are none for a
    map whose strongest places lie beyond.
    """
    # Each map in units of its own level, and all of them one below the other: they are followed together.
    x, y, fine = grid.sampled(maps / (LEVEL * maps.max((1, 2), keepdims=True)), FINE)
    fine = np.pad(fine, ((0, 0), (1, 1), (1, 1)))
    count, height, width = fine.shape
    found: list[list[tuple[float, Polygon]]] = [[] for _ in range(count)]
    # Beyond the samples lies the edge itself, where the outlines are to end.
    columns, rows = np.concatenate([x[:1], x, x[-1:]]), np.concatenate([y[:1], y, y[-1:]])
    crossings, lines = level_lines(fine.reshape(-1, width), 1.0)
    numbers, at = np.divmod(crossings[:, 1], height)
    px = np.interp(crossings[:, 0], np.arange(width), columns).round(2).tolist()
    py = np.interp(at, np.arange(height), rows).round(2).tolist()
    for line in lines:
        polygon = tuple((px[each], py[each]) for each in line)
        area = _area(polygon)
        if area > 0:  # a hole runs the other way round
            found[int(numbers[line[0]])].append((area, polygon))
    return [tuple(polygon for _, polygon in sorted(some, key=lambda one: -one[0])) for some in found]


def bounds(polygons: tuple[Polygon, ...], place: tuple[float, float]) -> Rectangle:
    """The rectangle around polygons; where there are none, the ``place`` alone."""
    x, y = zip(*(point for polygon in polygons or ((place,),) for point in polygon), strict=True)
    return Rectangle(min(x), min(y), max(x), max(y))


def _hats(units: FloatArray, at: FloatArray) -> FloatArray:
    """(len(at), n): how much each unit counts at each place; at a unit's own place the others count exactly 0."""
    numbers = np.arange(len(units))
    return np.maximum(0.0, 1.0 - np.abs(np.interp(at, units, numbers)[:, None] - numbers))


def _samples(units: FloatArray, low: float, high: float, steps: int) -> FloatArray:
    """The units' places and ``steps`` - 1 between each two, between the edges, which are samples too."""
    count = len(units)
    inner = np.interp(np.arange((count - 1) * steps + 1) / steps, np.arange(count), units)
    return np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]])


def _area(polygon: Polygon) -> float:
    """Positive where the points run clockwise, as seen in a picture."""
    following = (*polygon[1:], polygon[0])
    return 0.5 * sum(x * after_y - y * after_x for (x, y), (after_x, after_y) in zip(polygon, following, strict=True))


def level_lines(values: FloatArray, level: float) -> tuple[FloatArray, list[list[int]]]:
    """The closed lines around where ``values`` (h, w) are above ``level``; the outermost samples must not be.

    Returns points (k, 2) of (column, row), in samples, and for each line the indices of its points in their order:
    clockwise around what is above, the other way around holes.
    """
    width = values.shape[1]
    inside = (values > level).astype(np.uint8)
    corners = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    squares = np.flatnonzero((corners > 0) & (corners < 15))
    cases, squares = corners.ravel()[squares], squares + squares // (width - 1)  # as numbers of their top left samples
    twice = (cases == 5) | (cases == 10)
    if twice.any():
        again = cases[twice]
        cases, squares = np.concatenate([cases, again]), np.concatenate([squares, squares[twice]])
        enter = np.concatenate([ENTER[cases[: len(twice)]], ENTER_AGAIN[again]])
        leave = np.concatenate([LEAVE[cases[: len(twice)]], LEAVE_AGAIN[again]])
    else:
        enter, leave = ENTER[cases], LEAVE[cases]
    # A side by one number: twice the number of the sample that it begins at, to the right, and one more, downwards.
    sides = np.array([0, 3, 2 * width, 1])
    entered, left = 2 * squares + sides[enter], 2 * squares + sides[leave]
    begin, down = entered // 2, entered % 2
    end = begin + np.where(down, width, 1)
    flat = values.ravel()
    share = (level - flat[begin]) / (flat[end] - flat[begin])
    points = np.stack([begin % width + share * (1 - down), begin // width + share * down], 1)
    entered_at = {side: index for index, side in enumerate(entered.tolist())}
    following = [entered_at[side] for side in left.tolist()]
    lines: list[list[int]] = []
    todo = [True] * len(following)
    for first in range(len(following)):
        line, index = [], first
        while todo[index]:
            todo[index] = False
            line.append(index)
            index = following[index]
        if line:
            lines.append(line)
    return points, lines
