"""The box of a map the slow way: one sample at a time, pieces by walking, edges from all crossings around a piece."""

import numpy as np

from tests.reference.filter_parts import value_at


def places(units: np.ndarray, low: float, high: float, steps: int) -> list[float]:
    """Where a map is sampled: the edges, the units between them, and ``steps`` - 1 places between two units."""
    found = [low]
    for i in range(len(units)):
        for step in range(steps if i + 1 < len(units) else 1):
            at = units[i] + (units[i + 1] - units[i]) * step / steps if step else units[i]
            if low < at < high:
                found.append(float(at))
    return [*found, high]


def pieces(inside: np.ndarray) -> list[list[tuple[int, int]]]:
    """The places (row, column) of each piece of a mask, joined beside, above and below; the topmost piece first."""
    left, found = {(int(i), int(j)) for i, j in np.argwhere(inside)}, []
    while left:
        pending = [min(left)]
        left.remove(pending[0])
        piece = []
        while pending:
            i, j = pending.pop()
            piece.append((i, j))
            for place in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if place in left:
                    left.remove(place)
                    pending.append(place)
        found.append(piece)
    return found


def weak_box(
    values: np.ndarray, x: list[float], y: list[float], units_x: np.ndarray, units_y: np.ndarray, threshold: float
) -> tuple[float, float, float, float] | None:
    """x_min, y_min, x_max, y_max of the largest piece; x, y: where the map (h, w) is sampled; units_*: its places."""
    fine = np.array([[value_at(values, units_x, units_y, px, py) for px in x] for py in y])
    if fine.max() <= 0:
        return None
    level = threshold * fine.max()

    def extent(at: list[float], i: int) -> float:
        low = at[0] if i == 0 else (at[i - 1] + at[i]) / 2
        return (at[-1] if i == len(at) - 1 else (at[i] + at[i + 1]) / 2) - low

    best, largest = [], -1.0
    for piece in pieces(fine > level):
        area = sum(extent(y, i) * extent(x, j) for i, j in piece)
        if area > largest * (1 + 1e-9):
            best, largest = piece, area
    across, down, members = [], [], set(best)
    for i, j in best:
        across.append(x[j])
        down.append(y[i])
        for di, dj in ((0, -1), (0, 1), (-1, 0), (1, 0)):
            ni, nj = i + di, j + dj
            if 0 <= ni < len(y) and 0 <= nj < len(x) and (ni, nj) not in members:
                share = (fine[i, j] - level) / (fine[i, j] - fine[ni, nj])
                across.append(x[j] + share * (x[nj] - x[j]))
                down.append(y[i] + share * (y[ni] - y[i]))
    return min(across), min(down), max(across), max(down)
