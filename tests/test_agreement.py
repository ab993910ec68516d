"""Rank correlation of maps: by hand, as scipy computes it, and averaging that is exact."""

import numpy as np
import pytest
from scipy import stats

from showcause.agreement import averaged, rank_correlation

RNG = np.random.default_rng(0)


def test_by_hand():
    # Ranks 1 2 3 4 and 1 2 4 3: 1 - 6 * (1 + 1) / (4 * 15).
    assert rank_correlation(np.array([[1, 2], [3, 4]]), np.array([[0, 1], [9, 2]])) == pytest.approx(0.8)


def test_ties_share_their_mean_rank_by_hand():
    # Ranks 1.5 1.5 3 4 less 2.5: -1 -1 .5 1.5, squares 4.5; against -1.5 -.5 .5 1.5, squares 5; products 4.5.
    one, other = np.array([[0, 0], [1, 2]]), np.array([[1, 2], [3, 4]])
    assert rank_correlation(one, other) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_as_scipy(levels):
    for _ in range(5):
        one, other = RNG.integers(0, levels, (2, 13, 9)).astype(np.float32)
        other += one * RNG.integers(0, 3)
        assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def test_only_the_order_counts():
    one = RNG.normal(size=(7, 7))
    assert rank_correlation(one, np.exp(3 * one) + 5) == 1.0
    assert rank_correlation(one, -(one**3)) == -1.0


@pytest.mark.parametrize("fine", [(224, 224), (13, 7), (7, 20), (100, 101)])
def test_a_map_agrees_wholly_with_itself_made_coarser_and_both_ways_round(fine):
    one = RNG.normal(size=fine)
    coarse = averaged(one, 7, 7)
    assert rank_correlation(one, coarse) == pytest.approx(1.0)
    assert rank_correlation(-coarse, one) == pytest.approx(-1.0)


def test_the_coarser_is_taken_along_each_axis():
    one, other = RNG.normal(size=(4, 9)), RNG.normal(size=(8, 3))
    expected = stats.spearmanr(one.reshape(4, 3, 3).mean(2).ravel(), other.reshape(4, 2, 3).mean(1).ravel()).statistic
    assert rank_correlation(one, other) == pytest.approx(expected)


def test_means_of_cells_that_share_units_by_hand():
    # Three units over two cells: each has one whole unit and half of the middle one.
    np.testing.assert_allclose(averaged(np.array([[3.0, 6.0, 12.0]]), 1, 2), [[(3 + 3) / 1.5, (3 + 12) / 1.5]])


@pytest.mark.parametrize(("units", "cells"), [(224, 13), (14, 13), (13, 7), (224, 7)])
def test_means_are_those_of_a_common_finer_grid(units, cells):
    values = RNG.normal(size=(units, units))
    fine = values.repeat(cells, 0)[:, :3].reshape(cells, units, 3).mean(1)  # each unit as so many slices
    np.testing.assert_allclose(averaged(values[:, :3], cells, 3), fine, atol=1e-11)
    assert averaged(values, cells, cells).mean() == pytest.approx(values.mean()), "what is there is kept"


def test_a_map_that_is_the_same_everywhere_agrees_with_nothing():
    one = RNG.normal(size=(13, 13))
    for value in (0.0, 0.1, -3.3):
        assert rank_correlation(np.full((13, 13), value), one) == 0.0
        assert rank_correlation(one, np.full((224, 224), value)) == 0.0, "though its averages differ by rounding"
    stripes = np.tile([0.1, 0.7], (224, 112))
    assert rank_correlation(stripes, RNG.normal(size=(14, 14))) == 0.0, "the same everywhere once averaged"
    assert rank_correlation(np.ones((1, 1)), one) == 0.0


@pytest.mark.parametrize("bad", [np.ones(4), np.ones((0, 3)), np.array([[1.0, np.nan]])])
def test_what_is_no_map_is_refused(bad):
    with pytest.raises(ValueError, match=r"map 1 has shape .*; allowed: \(h, w\)"):
        rank_correlation(np.eye(2), bad)
