"""Part interpretability by hand: thresholds, regions scaled up, overlap, and what is made of it."""

import numpy as np
import pytest

from showcause.evaluation.interpretability import (
    activation_thresholds,
    box_span,
    interpretability,
    part_association,
    part_overlaps,
)
from showcause.evaluation.scaling import scaled_field, scaled_up, up_scaling
from showcause.layers.receptive_field import ReceptiveField

NEAREST = np.kron(np.eye(2), np.ones((4, 1)))  # 2 places -> 8 pixels, each place 4 of them


def test_threshold_leaves_the_share_above_it():
    # 100 activations 0..99 in two pictures of 5 x 10 places; of 5% five are above 94.
    maps = np.random.default_rng(0).permutation(100).reshape(2, 1, 5, 10).astype(float)
    assert activation_thresholds(maps, 0.05) == [94]
    assert (maps > 94).sum() == 5
    assert activation_thresholds(maps, 0.001) == [99], "less than one activation: nothing is above"
    assert activation_thresholds(np.zeros((2, 1, 5, 10))) == [0]
    # A filter that is nearly always silent: what it has is above 0.
    maps[:] = 0
    maps[0, 0, 0, 0] = 1
    assert activation_thresholds(maps, 0.05) == [0]


def test_box_span_counts_pixel_centres():
    # From 1 to 4: the centres 1.5, 2.5, 3.5.
    np.testing.assert_array_equal(box_span(np.array([2.5]), np.array([3.0]), 6), [[0, 1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(box_span(np.array([5.0]), np.array([4.0]), 6), [[0, 0, 0, 1, 1, 1]], "cut off")


def test_up_scaling_goes_by_the_receptive_fields_centres():
    # Two units at 2.5 and 6.5 of 8 pixels. Pixel centres up to 2.5 have the first's value; 3.5 is a quarter further.
    weights = up_scaling(ReceptiveField(jump=4, center=2.5), 2, 8)
    np.testing.assert_allclose(weights[:, 1], [0, 0, 0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_allclose(weights.sum(1), 1)
    up = scaled_up(np.array([[0.0, 0.0], [0.0, 8.0]]), weights)
    assert up.shape == (8, 8)
    assert up[6, 7] == 8
    assert up[4, 4] == 2
    assert scaled_field(ReceptiveField(195, 16, 15.5), 112, 224) == ReceptiveField(390, 32, 31)


def test_overlaps_by_hand():
    # One filter, two pictures, its region the upper left 4 x 4 of 8 x 8 pixels on the first, all of it on the second.
    maps = np.array([[[[2.0, 1], [0, 0]]], [[[2.0, 2], [2, 2]]]])
    # Head: 4 x 8 at the top of the first picture: 16 of 32 in common: 0.5. Absent from the second.
    head = [[2.0, 4, 4, 8], [np.nan] * 4]
    # Legs: 4 x 4 lower right on both: nothing of 32 in common; 16 of 64.
    legs = [[6.0, 6, 4, 4], [6.0, 6, 4, 4]]
    found = part_overlaps(maps, np.array([1.0]), np.array([head, legs]), NEAREST)
    np.testing.assert_allclose(found, [[[0.5, np.nan], [0, 0.25]]])


def test_association_is_the_share_of_the_pictures_with_the_part():
    nan = np.nan
    overlaps = np.array([[[0.5, nan, 0.1], [0.2, 0.21, 0.3]], [[0, 0, nan], [nan, nan, nan]]])
    # The first filter: one of two pictures with the first part, two of three with the second (0.2 is not above 0.2).
    np.testing.assert_allclose(part_association(overlaps), [[1 / 2, 2 / 3], [0, nan]])
    np.testing.assert_allclose(part_association(overlaps, statistic="max"), [[1, 1], [0, nan]])
    np.testing.assert_allclose(interpretability(part_association(overlaps)), [2 / 3, 0])
    np.testing.assert_allclose(interpretability(np.full((2, 1), nan)), [nan, nan])


def test_a_silent_filter_has_no_region():
    found = part_overlaps(np.zeros((1, 1, 2, 2)), np.zeros(1), np.array([[[4.0, 4, 8, 8]]]), NEAREST)
    assert found == pytest.approx(0)
