"""The pointing games: places and shares by hand, which pictures are chosen, and how they are laid out."""

import math

import numpy as np
import pytest
from scipy import ndimage

from showcause.box import stretched
from showcause.evaluation.pointing import (
    cell_shares,
    center,
    choose_grids,
    class_average,
    compose,
    hits,
    strongest_place,
)
from showcause.image import InputSpec, frame_of
from showcause.reply import Rectangle

OBJECTS = [Rectangle(0, 0, 2, 2), Rectangle(10, 10, 14, 12)]
RNG = np.random.default_rng(0)


def test_the_strongest_place_is_that_of_its_unit():
    grid = stretched(frame_of((40, 20), None, InputSpec(8, 8)), 4, 4)
    values = np.zeros((4, 4))
    values[1, 3] = 2.0
    assert strongest_place(values, grid) == (35.0, 7.5)
    values[3, 0] = 2.0
    assert strongest_place(values, grid) == (35.0, 7.5), "of equal ones the first"
    assert strongest_place(np.full((4, 4), 0.5), grid) == (5.0, 2.5), "not the edge before the first unit"
    assert strongest_place(np.zeros((4, 4)), grid) is None
    assert strongest_place(-values, grid) is None


def test_a_unit_beside_the_photo_counts_with_the_value_at_the_edge():
    # A letterbox of 40 x 20 sees 40 x 40, from y = -10: rows of units at -5, 5, 15, 25, photo from 0 to 20.
    grid = stretched(frame_of((40, 20), None, InputSpec(8, 8, "letterbox")), 4, 4)
    np.testing.assert_allclose(grid.y, [-5, 5, 15, 25])
    values = np.zeros((4, 4))
    values[0, 2], values[2, 1] = 8.0, 5.0  # half way to the next row, at the edge, 4 is left of 8
    assert strongest_place(values, grid) == (15.0, 15.0)
    values[0, 2] = 12.0
    assert strongest_place(values, grid) == (25.0, 0.0)


@pytest.mark.parametrize(
    ("place", "tolerance", "expected"),
    [
        ((1, 1), 0, True),
        ((2, 2), 0, True),  # on the corner
        ((11, 11), 0, True),  # in the second object
        ((2.1, 1), 0, False),
        ((5, 6), 5, True),  # 3 and 4 away from the corner (2, 2)
        ((5, 6), 4.9, False),
        ((1, -3), 3, True),
        (None, 99, False),
    ],
)
def test_hits(place, tolerance, expected):
    assert hits(place, OBJECTS, tolerance) is expected


def test_the_centre_is_the_control():
    assert center(Rectangle(4, 0, 10, 5)) == (7.0, 2.5)
    assert hits(center(Rectangle(0, 0, 3, 3)), OBJECTS)


def test_the_average_weighs_classes_the_same():
    # 3 of 4 cats and 0 of 1 dogs.
    assert class_average([True, True, False, True, False], ["cat"] * 4 + ["dog"]) == pytest.approx(0.375)
    assert math.isnan(class_average([], []))


def test_shares_by_hand():
    # Positive in the cells: 3, 1, 0, 4; what is negative is left out.
    values = np.array([[1, 2, 0, 1], [0, -9, 0, 0], [0, 0, 4, 0], [0, -1, 0, 0]], float)
    np.testing.assert_allclose(cell_shares(values, 2, smoothing=1), [[3 / 8, 1 / 8], [0, 4 / 8]])


def test_what_cancels_within_the_average_counts_for_nothing():
    checkers = np.where(np.indices((12, 12)).sum(0) % 2, 1.0, -1.0)
    checkers[:6] *= 0.5
    checkers[9, 9] += 6.0
    shares = cell_shares(checkers, 2, smoothing=3)
    assert shares[1, 1] > 0.5
    assert cell_shares(checkers, 2, smoothing=1)[1, 1] < 0.45


@pytest.mark.parametrize("side", [1, 3, 15])
def test_smoothing_is_the_mean_with_0_beyond_the_border(side):
    values = RNG.normal(size=(24, 36))
    smooth = np.maximum(ndimage.uniform_filter(values, side, mode="constant"), 0)
    expected = np.array(
        [[smooth[12 * i : 12 * i + 12, 18 * j : 18 * j + 18].sum() for j in range(2)] for i in range(2)]
    )
    np.testing.assert_allclose(cell_shares(values, 2, side), expected / expected.sum(), rtol=1e-9)


def test_shares_sum_to_one_and_a_map_that_knows_nothing_scores_one_cell_of_all():
    shares = cell_shares(RNG.normal(size=(672, 672)), 3)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, 1 / 9, atol=0.03)
    np.testing.assert_array_equal(cell_shares(-np.ones((4, 4)), 2), np.zeros((2, 2)))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"values have shape \(4, 5\); allowed: multiples of n = 2"):
        cell_shares(np.ones((4, 5)), 2)
    with pytest.raises(ValueError, match="smoothing is 4; allowed: odd numbers from 1"):
        cell_shares(np.ones((4, 4)), 2, smoothing=4)
    with pytest.raises(ValueError, match="images are 3; allowed: n \\* n = 4"):
        compose(np.zeros((3, 3, 2, 2), np.uint8), 2)


def confident(labels: list[int], confidence: list[float], classes: int) -> np.ndarray:
    """(S, C) probabilities: so much for the label, the rest for the other classes alike."""
    found = np.repeat((1 - np.array(confidence))[:, None] / (classes - 1), classes, axis=1)
    found[np.arange(len(labels)), labels] = confidence
    return found


def test_grids_by_hand():
    labels = [0, 0, 1, 2, 3, 3, 4, 1, 2]
    probabilities = confident(labels, [0.9, 0.95, 0.8, 0.7, 0.6, 0.65, 0.55, 0.5, 0.62], 5)
    grids = choose_grids(probabilities, np.array(labels), 2, 9)
    # Strongest of classes 0 to 3 first: 1, 2, 3, 5. Then 0 (class 0), 8 (2), 4 (3), 6 (4): 7 is not confident enough.
    assert [sorted(grid) for grid in grids] == [[1, 2, 3, 5], [0, 4, 6, 8]]
    assert choose_grids(probabilities, np.array(labels), 2, 1) == grids[:1]


def test_wrong_and_doubtful_pictures_are_not_used():
    labels = np.arange(4)
    probabilities = confident(labels.tolist(), [0.9] * 4, 4)
    assert len(choose_grids(probabilities, labels, 2, 9)) == 1
    doubtful = probabilities.copy()
    doubtful[2] = [0.2, 0.1, 0.5, 0.2]
    assert choose_grids(doubtful, labels, 2, 9) == []
    wrong = probabilities.copy()
    wrong[2] = wrong[3]
    assert choose_grids(wrong, labels, 2, 9) == []
    sigmoid = probabilities.copy()
    sigmoid[2] = [0.6, 0.0, 0.55, 0.0]  # confident, but of another class more so
    assert choose_grids(sigmoid, labels, 2, 9) == []


def test_properties_of_grids():
    labels = RNG.integers(0, 12, 300)
    probabilities = confident(labels.tolist(), RNG.uniform(0.3, 1, 300).tolist(), 12)
    grids = choose_grids(probabilities, labels, 3, 15)
    assert len(grids) == 15
    used = [index for grid in grids for index in grid]
    assert len(set(used)) == len(used)
    confidence = probabilities[np.arange(300), labels]
    assert (confidence[used] > 0.5).all()
    assert all(len({labels[index] for index in grid}) == 9 for grid in grids)
    means = [confidence[list(grid)].mean() for grid in grids]
    assert means == sorted(means, reverse=True)
    assert grids == choose_grids(probabilities, labels, 3, 15)
    assert any(confidence[list(grid)].argmax() for grid in grids), "the most confident is not always at the top left"


def test_pictures_are_laid_out_in_reading_order():
    images = np.arange(4 * 3 * 2 * 5).reshape(4, 3, 2, 5).astype(np.uint8)
    found = compose(images, 2)
    assert (found.shape, found.dtype) == ((3, 4, 10), np.uint8)
    for index, (row, column) in enumerate(np.ndindex(2, 2)):
        np.testing.assert_array_equal(found[:, 2 * row : 2 * row + 2, 5 * column : 5 * column + 5], images[index])
