"""Outlines against the slow reference, in every kind of frame, and small ones by hand."""

import numpy as np
import pytest

from showcause.image import InputSpec, frame_of
from showcause.outline import LEVEL, bounds, grid_over, level_lines, outlines
from showcause.reply import InputFrame, Rectangle
from tests.reference.filter_parts import is_inside, pieces, value_at

CENTER, JUMP, N, SIDE = 15.5, 16.0, 13, 224  # of AlexNet's parts
FRAMES = {
    "squash": frame_of((451, 300), None, InputSpec(SIDE, SIDE)),
    "center_crop": frame_of((451, 300), None, InputSpec(SIDE, SIDE, "center_crop")),
    "letterbox": frame_of((451, 300), None, InputSpec(SIDE, SIDE, "letterbox")),
    "region": frame_of((451, 300), Rectangle(40, 30, 300, 130), InputSpec(SIDE, SIDE)),
    "letterbox of a region": frame_of((451, 300), Rectangle(300, 0, 451, 300), InputSpec(SIDE, SIDE, "letterbox")),
    "tensor": InputFrame(0, 0, Rectangle(0, 0, SIDE, SIDE), SIDE, SIDE, "none"),
}


def blobs(count: int, seed: int = 0) -> np.ndarray:
    """Maps as masks leave them: one or more hills of random height, zero elsewhere; the last have a hole each."""
    random, grid = np.random.default_rng(seed), np.arange(N)
    maps = np.zeros((count, N, N))
    for k in range(count):
        for _ in range(random.integers(1, 4)):
            i, j = random.integers(0, N, 2)
            hill = np.clip(1 - 4 / N * (np.abs(grid[:, None] - i) + np.abs(grid - j)), 0, 1)
            maps[k] = np.maximum(maps[k], hill * random.uniform(0.3, 1))
        maps[k] *= random.uniform(0.6, 1, (N, N))
    for k in range(count - 3, count):
        i, j = random.integers(2, N - 2, 2)
        maps[k, i - 1 : i + 2, j - 1 : j + 2] = 1.0
        maps[k, i, j] = 0.0
    return maps * 7.0


@pytest.mark.parametrize("name", FRAMES)
def test_outlines_are_where_the_interpolated_map_is_above_half_its_maximum(name):
    """At a lattice of places in the photo; those within a twentieth of the level are left out."""
    frame, maps = FRAMES[name], blobs(12)
    seen, width, height = frame.seen, frame.photo_width or SIDE, frame.photo_height or SIDE
    units_x = seen.x_min + (CENTER + JUMP * np.arange(N)) * seen.width / SIDE
    units_y = seen.y_min + (CENTER + JUMP * np.arange(N)) * seen.height / SIDE
    found = outlines(maps, grid_over(frame, CENTER, JUMP, N))
    checked = 0
    for values, polygons in zip(maps, found, strict=True):
        hollow = values.max() == 7.0
        for x in np.linspace(0.7, width - 0.9, 41):
            for y in np.linspace(0.7, height - 0.7, 31):
                inside = any(is_inside(polygon, x, y) for polygon in polygons)
                if not (seen.x_min < x < seen.x_max and seen.y_min < y < seen.y_max):
                    assert not inside, "beyond what was seen"
                    continue
                strength = value_at(values, units_x, units_y, x, y) / values.max() - LEVEL
                if abs(strength) > 0.05 and (strength > 0 or not hollow):  # holes are filled
                    checked += 1
                    assert inside == (strength > 0), (x, y, strength)
    assert checked > 1000


@pytest.mark.parametrize("name", FRAMES)
def test_every_connected_piece_has_one_polygon_largest_first(name):
    frame, maps = FRAMES[name], blobs(20, seed=1)[:-3]  # those without holes
    grid = grid_over(frame, CENTER, JUMP, N)
    shown = grid.shown
    x, y = np.linspace(shown.x_min, shown.x_max, 400), np.linspace(shown.y_min, shown.y_max, 400)
    for values, polygons, fine in zip(maps, outlines(maps, grid), grid.values(maps, x, y), strict=True):
        assert len(polygons) == pieces(fine > LEVEL * values.max())
        areas = [area(polygon) for polygon in polygons]
        assert areas == sorted(areas, reverse=True)
        assert all(size > 0 for size in areas)
        for px, py in (point for polygon in polygons for point in polygon):
            assert shown.x_min - 0.01 <= px <= shown.x_max + 0.01
            assert shown.y_min - 0.01 <= py <= shown.y_max + 0.01
        box = bounds(polygons, grid.place(0, 0))
        rows, columns = np.nonzero(fine > LEVEL * values.max())
        if len(rows):
            step_x, step_y = x[1] - x[0], y[1] - y[0]
            assert box.x_min == pytest.approx(x[columns.min()], abs=5 * step_x)
            assert box.x_max == pytest.approx(x[columns.max()], abs=5 * step_x)
            assert box.y_min == pytest.approx(y[rows.min()], abs=5 * step_y)
            assert box.y_max == pytest.approx(y[rows.max()], abs=5 * step_y)


def area(polygon) -> float:
    x, y = np.array(polygon).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_one_unit_by_hand():
    """Alone at row 6, column 4: half way to each neighbour, 8 input pixels from its centre at (79.5, 111.5)."""
    maps = np.zeros((1, N, N))
    maps[0, 6, 4] = 3.0
    grid = grid_over(FRAMES["tensor"], CENTER, JUMP, N)
    assert grid.place(6, 4) == (79.5, 111.5)
    ((polygon,),) = outlines(maps, grid)
    assert bounds((polygon,), (0, 0)) == Rectangle(71.5, 103.5, 87.5, 119.5)
    # (1 - u) * (1 - v) > 1/2 in each quarter: the integral of 1 - 1 / (2 (1 - u)) for u from 0 to 1/2.
    assert area(polygon) == pytest.approx(4 * JUMP**2 * (1 - np.log(2)) / 2, rel=0.03)


def test_a_part_at_the_border_reaches_the_border():
    maps = np.zeros((2, N, N))
    maps[0, 0, 0] = maps[1, N - 1, N - 1] = 1.0
    (first,), (last,) = outlines(maps, grid_over(FRAMES["tensor"], CENTER, JUMP, N))
    assert bounds((first,), (0, 0)) == Rectangle(0, 0, 23.5, 23.5)
    assert bounds((last,), (0, 0)) == Rectangle(199.5, 199.5, 224, 224)


def test_a_part_beside_the_photo_has_no_outline_and_its_place_is_at_the_edge():
    """A letterbox shows 451 x 300 in rows 38 to 186 of 224: the first row of units is in the grey."""
    maps = np.zeros((1, N, N))
    maps[0, 0, 6] = 1.0
    grid = grid_over(FRAMES["letterbox"], CENTER, JUMP, N)
    assert outlines(maps, grid) == [()]
    x, y = grid.place(0, 6)
    assert (x, y) == (pytest.approx(111.5 / 224 * 451), 0.0)
    assert bounds((), (x, y)) == Rectangle(x, y, x, y)


def test_corners_that_face_each_other_are_not_joined():
    values = np.zeros((6, 6))
    values[2, 2] = values[3, 3] = values[2, 4] = 1.0
    points, lines = level_lines(values, 0.5)
    assert len(lines) == 3
    assert sorted(index for line in lines for index in line) == list(range(len(points)))
    for line in lines:
        assert area(points[line]) == pytest.approx(0.5), "a diamond around one sample"


def test_holes_run_the_other_way_round():
    values = np.zeros((7, 7))
    values[1:6, 1:6] = 1.0
    values[3, 3] = 0.0
    points, lines = level_lines(values, 0.5)
    assert sorted(round(area(points[line]), 3) for line in lines) == [-0.5, 24.5]


def test_nothing_above_the_level_has_no_lines():
    assert level_lines(np.zeros((5, 5)), 0.5)[1] == []
