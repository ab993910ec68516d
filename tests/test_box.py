"""Weakly supervised boxes: by hand, against the slow reference, against outlines, and what must not matter."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from scipy import ndimage

from showcause.box import ENOUGH, box_of, components, stretched, weak_box
from showcause.image import InputSpec, frame_of
from showcause.outline import FINE, Grid, bounds, grid_over, outlines
from showcause.reply import InputFrame, Rectangle
from tests.reference import box as slow

SIDE = 224
FRAMES = {
    "squash": frame_of((451, 300), None, InputSpec(SIDE, SIDE)),
    "center_crop": frame_of((451, 300), None, InputSpec(SIDE, SIDE, "center_crop")),
    "letterbox": frame_of((451, 300), None, InputSpec(SIDE, SIDE, "letterbox")),
    "letterbox of a region": frame_of((451, 300), Rectangle(300, 0, 451, 300), InputSpec(SIDE, SIDE, "letterbox")),
    "tensor": InputFrame(0, 0, Rectangle(0, 0, SIDE, SIDE), SIDE, SIDE, "none"),
}


def square(side: float) -> InputFrame:
    return replace(FRAMES["tensor"], seen=Rectangle(0, 0, side, side))


def box(values, threshold: float, frame: InputFrame | None = None) -> tuple[float, ...] | None:
    """Of a map that covers a frame, by default one pixel a unit."""
    values = np.array(values, float)
    found = weak_box(values, stretched(frame or square(len(values)), *values.shape), threshold)
    return found and astuple(found)


def hills(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Smooth maps with several hills and, between them, negative values."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)


def test_stretched_has_the_centres_of_equal_cells():
    grid = stretched(FRAMES["squash"], 2, 4)
    np.testing.assert_allclose(grid.x, 451 * np.array([1, 3, 5, 7]) / 8)
    np.testing.assert_allclose(grid.y, 300 * np.array([1, 3]) / 4)
    assert grid.shown == Rectangle(0, 0, 451, 300)
    np.testing.assert_allclose(stretched(FRAMES["tensor"], 7, 7).x, 16 + 32 * np.arange(7))


@pytest.mark.parametrize("name", FRAMES)
def test_stretched_is_the_grid_of_units_that_lie_evenly(name):
    one, other = stretched(FRAMES[name], 14, 14), grid_over(FRAMES[name], 8.0, 16.0, 14)
    np.testing.assert_allclose(one.x, other.x)
    np.testing.assert_allclose(one.y, other.y)
    assert one.shown == other.shown


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.9])
def test_one_unit_by_hand(threshold):
    # The unit's centre is (3.5, 2.5); towards its neighbours the map falls from 3 to 0 over one pixel.
    values = np.zeros((6, 6))
    values[2, 3] = 3.0
    reach = 1 - threshold
    assert box(values, threshold) == pytest.approx((3.5 - reach, 2.5 - reach, 3.5 + reach, 2.5 + reach))


def test_next_to_a_negative_neighbour_the_box_ends_where_0_is_crossed():
    # From 3 at 2.5 to -1 at 1.5: 0 lies three quarters of the way; above it nothing changes the size of the map.
    assert box([[-1, -1, 3, 0, -9]] * 5, 0.0) == pytest.approx((1.75, 0, 3.5, 5))


def test_a_piece_at_the_border_reaches_the_border():
    values = np.zeros((4, 4))
    values[0, 0] = 1.0
    assert box(values, 0.5) == pytest.approx((0, 0, 1, 1))
    assert box(values[::-1, ::-1], 0.5) == pytest.approx((3, 3, 4, 4))
    assert box(np.ones((4, 4)), 0.99) == (0, 0, 4, 4)
    assert box([[2.0]], 0.3) == (0, 0, 1, 1)


def test_the_largest_piece_counts_and_not_the_strongest():
    values = np.zeros((9, 9))
    values[1, 1] = 10.0
    values[4:8, 4:7] = 6.0
    # The level is 5, and 6 falls to it on a sixth of the way to 0.
    assert box(values, 0.5) == pytest.approx((4.5 - 1 / 6, 4.5 - 1 / 6, 6.5 + 1 / 6, 7.5 + 1 / 6))
    assert box(values, 0.9) == pytest.approx((1.4, 1.4, 1.6, 1.6))


def test_largest_is_by_area_in_the_photo_and_not_by_samples():
    # A letterbox shows half of the border unit: there, the same number of units is a smaller area.
    grid = Grid(np.arange(9) + 0.5, np.arange(5) + 0.5, Rectangle(0.4, 0, 9, 5))
    values = np.zeros((5, 9))
    values[1:3, 0] = values[1:3, 7] = 1.0
    found = weak_box(values, grid, 0.1)
    assert found is not None
    assert found.x_min > 6


def test_units_that_touch_at_a_corner_are_two_pieces():
    # Half way between them all four corners' mean is half: not above it, but above a lower level.
    values = np.zeros((6, 6))
    values[1, 1] = values[2, 2] = 1.0
    assert box(values, 0.5) == pytest.approx((1, 1, 2, 2)), "of equal ones the first"
    assert box(values, 0.4) == pytest.approx((0.9, 0.9, 3.1, 3.1))


def test_nothing_above_0_has_no_box():
    assert box(np.zeros((3, 3)), 0.0) is None
    assert box(-np.ones((3, 3)), 0.5) is None


@pytest.mark.parametrize("threshold", [-0.01, 1.0, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold is .*; allowed: at least 0 and less than 1"):
        box(np.ones((3, 3)), threshold)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="values hold NaN or infinity"):
        box([[1.0, bad]] * 2, 0.5)


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("shape", [(7, 7), (5, 13), (1, 4), (70, 12), (130, 20)])
def test_as_the_slow_reference(name, shape):
    steps = min(FINE, ENOUGH // max(shape))
    for seed, threshold in enumerate((0.0, 0.2, 0.55, 0.8)):
        values, grid = hills(shape, seed), stretched(FRAMES[name], *shape)
        if max(shape) > 60:  # hundreds of pieces, as in a gradient's map
            values = np.random.default_rng(seed).normal(size=shape)
        shown = grid.shown
        x = slow.places(grid.x, shown.x_min, shown.x_max, steps)
        y = slow.places(grid.y, shown.y_min, shown.y_max, steps)
        expected = slow.weak_box(values, x, y, grid.x, grid.y, threshold)
        found = weak_box(values, grid, threshold)
        assert (found and astuple(found)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["squash", "center_crop", "tensor"])
def test_at_half_the_maximum_it_is_the_box_of_an_outline(name):
    """In these frames every unit is shown, so that both have the same maximum; outlines are rounded to 0.01."""
    grid = grid_over(FRAMES[name], 15.5, 16.0, 13)
    maps = np.stack([hills((13, 13), seed) for seed in range(20)])
    for values, polygons in zip(maps, outlines(maps, grid), strict=True):
        found = weak_box(values, grid, 0.5)
        boxes = [astuple(bounds((polygon,), (0, 0))) for polygon in polygons]
        assert any(astuple(found) == pytest.approx(box, abs=0.0051) for box in boxes)


def test_scaling_the_map_changes_nothing():
    for seed in range(8):
        values = hills((13, 13), seed)
        assert box(7e-30 * values, 0.3) == pytest.approx(box(values, 0.3))
        assert box(3e30 * values.astype(np.float32), 0.3) == pytest.approx(box(values.astype(np.float32), 0.3))


def test_a_shifted_and_stretched_frame_shifts_and_stretches_the_box():
    for seed in range(8):
        values = hills((7, 7), seed)
        x_min, y_min, x_max, y_max = box(values, 0.4, square(7))
        moved = replace(FRAMES["tensor"], seen=Rectangle(10, 20, 10 + 21, 20 + 14))
        assert box(values, 0.4, moved) == pytest.approx(
            (10 + 3 * x_min, 20 + 2 * y_min, 10 + 3 * x_max, 20 + 2 * y_max)
        )


def test_mirrored_maps_have_mirrored_boxes():
    for seed in range(8):
        values = hills((13, 9), seed)
        frame = replace(FRAMES["tensor"], seen=Rectangle(0, 0, 9, 13))
        x_min, y_min, x_max, y_max = box(values, 0.4, frame)
        assert box(values[::-1, ::-1], 0.4, frame) == pytest.approx((9 - x_max, 13 - y_max, 9 - x_min, 13 - y_min))


def test_a_higher_threshold_never_gives_a_larger_box_around_one_hill():
    at = np.arange(13)
    values = np.exp(-((at[:, None] - 5) ** 2 + (at - 8) ** 2) / 12)
    boxes = np.array([box(values, threshold) for threshold in np.linspace(0, 0.99, 34)])
    assert (np.diff(boxes[:, :2], axis=0) >= 0).all()
    assert (np.diff(boxes[:, 2:], axis=0) <= 0).all()


def test_in_a_letterbox_only_what_is_shown_counts():
    """451 x 300 lies in rows 37.5 to 186.5 of 224: a maximum in the grey above does not hide the photo's own."""
    values = np.zeros((14, 14))
    values[0, 3], values[7, 6] = 100.0, 1.0
    grid = stretched(FRAMES["letterbox"], 14, 14)
    found = weak_box(values, grid, 0.5)
    assert found is not None
    scale = 451 / 14
    assert found.x_min == pytest.approx(6 * scale)
    assert found.x_max == pytest.approx(7 * scale)
    values[7, 6] = 0.0
    assert weak_box(values, grid, 0.5) is None


def test_components_are_scipys():
    for share in (0.1, 0.4, 0.6, 0.9):
        for shape in ((60, 47), (1, 30), (30, 1)):
            inside = np.random.default_rng(int(10 * share)).random(shape) < share
            found, (expected, count) = components(inside), ndimage.label(inside)
            assert ((found > 0) == inside).all()
            pairs = {tuple(pair) for pair in np.stack([found, expected], -1)[inside].tolist()}
            assert len(pairs) == count == len({number for number, _ in pairs})


def test_components_that_wind_are_one():
    spiral, comb = np.zeros((61, 61), bool), np.zeros((60, 61), bool)
    row, column, step, turns = 30, 30, 2, ((0, 1), (1, 0), (0, -1), (-1, 0))
    for leg in range(56):
        down, right = turns[leg % 4]
        for _ in range(step):
            spiral[row, column] = True
            row, column = row + down, column + right
        step += 2 * (leg % 2)
        if not (1 < row < 59 and 1 < column < 59):
            break
    comb[:, ::2] = comb[-1] = True
    for mask in (spiral, comb, spiral.T, comb[::-1]):
        assert ndimage.label(mask)[1] == 1
        assert len(np.unique(components(mask))) == 2
    assert not components(np.zeros((4, 4), bool)).any()


def test_a_map_of_pixels_is_smoothed_before_and_a_coarse_one_is_not():
    """A broad hill of 100 specks that do not touch: its box is around the hill, and not around a speck."""
    rng = np.random.default_rng(0)
    specks = np.zeros((224, 224), np.float32)
    for row, column in rng.permutation(np.argwhere(np.ones((40, 40), bool)))[:400]:
        specks[100 + row, 60 + column] = rng.uniform(0.5, 1.0)
    grid = Grid(np.arange(224) + 0.5, np.arange(224) + 0.5, Rectangle(0.0, 0.0, 224.0, 224.0))
    raw, found = weak_box(specks, grid, 0.5), box_of(specks, grid, 0.5)
    assert raw.width < 15
    assert 30 < found.width < 60
    assert abs((found.x_min + found.x_max) / 2 - 80) < 4
    assert abs((found.y_min + found.y_max) / 2 - 120) < 4
    coarse = rng.uniform(size=(13, 13))
    small = Grid(np.arange(13) + 0.5, np.arange(13) + 0.5, Rectangle(0.0, 0.0, 13.0, 13.0))
    assert box_of(coarse, small, 0.5) == weak_box(coarse, small, 0.5)
