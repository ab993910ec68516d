"""Localisation errors: overlaps and errors by hand, what val chooses, and kinds of photos."""

import math

import numpy as np
import pytest

from showcause.box import stretched, weak_box
from showcause.evaluation.bootstrap import bootstrap
from showcause.evaluation.localization import (
    SIDES,
    THRESHOLDS,
    central_box,
    choose,
    errors,
    iou,
    kinds,
    localization,
    overlaps,
)
from showcause.reply import InputFrame, Rectangle

BOX = Rectangle(0, 0, 4, 2)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (BOX, 1.0),
        (Rectangle(0, 0, 4, 1), 0.5),  # 4 of 8
        (Rectangle(2, 1, 6, 3), 2 / 14),  # 2 x 1 in common, of 8 + 8 - 2
        (Rectangle(1, -5, 2, 5), 2 / 16),  # 1 x 2 in common, of 8 + 10 - 2
        (Rectangle(4, 0, 8, 2), 0.0),  # side by side
        (Rectangle(5, 3, 6, 4), 0.0),  # apart along both axes: no positive product of two negative sides
        (Rectangle(1, 1, 1, 1), 0.0),
    ],
)
def test_intersection_over_union(other, expected):
    assert iou(BOX, other) == pytest.approx(expected)
    assert iou(other, BOX) == pytest.approx(expected)


def test_two_empty_boxes_do_not_overlap():
    assert iou(Rectangle(1, 1, 1, 1), Rectangle(1, 1, 1, 1)) == 0.0


def test_any_object_counts_and_no_box_finds_none():
    objects = [[Rectangle(10, 10, 12, 12), Rectangle(0, 0, 4, 1.5)], [BOX], [BOX]]
    np.testing.assert_allclose(overlaps([BOX, None, Rectangle(0, 0, 4, 1)], objects), [0.75, 0, 0.5])


def test_a_photo_without_objects_is_refused():
    with pytest.raises(ValueError, match="photo 1 has no objects; allowed: one or more"):
        overlaps([BOX, BOX], [[BOX], []])
    with pytest.raises(ValueError):
        overlaps([BOX], [[BOX], [BOX]])


def test_errors_by_hand():
    found, recognized = np.array([0.75, 0.5, 0.51, 0.0]), np.array([True, True, False, False])
    np.testing.assert_array_equal(errors(found), [0, 1, 0, 1])  # exactly half is not enough
    np.testing.assert_array_equal(errors(found, recognized), [0, 1, 1, 1])
    measured = localization(found, recognized, {"odd": np.array([False, True] * 2), "none": np.zeros(4, bool)})
    assert (measured.known_class.value, measured.top_1.value) == (0.5, 0.75)
    assert (measured.by_kind["odd"].value, measured.by_kind["odd"].count) == (1.0, 2)
    assert math.isnan(measured.by_kind["none"].value)
    assert measured.known_class == bootstrap([0, 1, 0, 1])


def test_the_central_box():
    assert central_box(Rectangle(0, 0, 10, 6), 0.5) == Rectangle(2.5, 1.5, 7.5, 4.5)
    assert central_box(Rectangle(4, 0, 10, 6), 1.0) == Rectangle(4, 0, 10, 6)


def test_the_side_of_the_central_box_is_chosen_for_the_lowest_error():
    # Objects of 0.7 x 0.7 and 0.8 x 0.8 in the middle. A box of side s is right for an object of side o where (s/o)^2
    # > 0.5 or (o/s)^2 > 0.5: s from 0.7072 o to 1.414 o, so 0.5 to 0.95 for the one and 0.6 to 1 for the other.
    photo = Rectangle(0, 0, 100, 100)
    objects = [[central_box(photo, 0.7)], [central_box(photo, 0.8)]]
    found = choose(SIDES, lambda side: [central_box(photo, side)] * 2, objects)
    assert (found.value, found.error) == (0.6, 0.0)
    by_side = dict(zip(found.candidates, found.errors, strict=True))
    assert [by_side[side] for side in (0.45, 0.5, 0.55, 0.95, 1.0)] == [1.0, 0.5, 0.5, 0.0, 0.5]


def test_the_threshold_is_chosen_for_the_lowest_error_and_of_equal_ones_the_smallest():
    # A pyramid that falls from 1 in the middle to 0 over 10 pixels: at threshold t its box has a side of 20 (1 - t).
    at = np.abs(np.arange(21) - 10)
    pyramid = np.clip(1 - np.maximum(at[:, None], at) / 10, 0, 1)
    grid = stretched(InputFrame(21, 21, Rectangle(0, 0, 21, 21), 21, 21, "none"), 21, 21)
    objects = [[central_box(Rectangle(0, 0, 21, 21), 10 / 21)]]  # right for sides from 7.08 to 14.14
    found = choose(THRESHOLDS, lambda threshold: [weak_box(pyramid, grid, threshold)], objects)
    assert (found.value, found.error) == (0.3, 0.0)
    right = [threshold for threshold, error in zip(found.candidates, found.errors, strict=True) if not error]
    assert right == pytest.approx([0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6])


def test_kinds_by_the_largest_object_and_the_number():
    # Of 100 square pixels: 8; 8 and 30; 50.
    objects = [[BOX], [BOX, Rectangle(0, 0, 10, 3)], [Rectangle(0, 0, 10, 5)]]
    found = {kind: mask.tolist() for kind, mask in kinds(objects, [100.0, 100.0, 100.0]).items()}
    assert found == {
        "small": [True, False, False],
        "medium": [False, True, False],
        "large": [False, False, True],
        "one object": [True, False, True],
        "several objects": [False, True, False],
    }


def test_errors_of_kinds_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    found, objects = rng.random(60), [[Rectangle(0, 0, side, 1)] * int(n) for side, n in rng.integers(1, 9, (60, 2))]
    by_kind = localization(found, np.ones(60, bool), kinds(objects, np.full(60, 10.0))).by_kind
    for names in (("small", "medium", "large"), ("one object", "several objects")):
        some = [by_kind[name] for name in names]
        assert sum(one.count for one in some) == 60
        assert sum(one.value * one.count for one in some) == pytest.approx(errors(found).sum())
