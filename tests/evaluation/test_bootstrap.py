"""Bootstrap intervals: against what is known in closed form."""

import math

import numpy as np
import pytest
from scipy import stats

from showcause.evaluation.bootstrap import bootstrap


def test_an_error_rate_has_the_binomials_interval():
    values = np.arange(400) % 4 == 0
    found = bootstrap(values)
    assert (found.value, found.count) == (0.25, 400)
    # Drawing 400 with replacement and counting the wrong ones is a binomial draw.
    assert found.low == pytest.approx(stats.binom.ppf(0.025, 400, 0.25) / 400, abs=0.003)
    assert found.high == pytest.approx(stats.binom.ppf(0.975, 400, 0.25) / 400, abs=0.003)


def test_seeded_and_without_pictures_nothing_is_known():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) != bootstrap(values, seed=1)
    assert bootstrap(np.ones(5)).low == bootstrap(np.ones(5)).high == 1.0
    nothing = bootstrap([])
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.low)
    assert nothing.count == 0


def test_a_difference_on_the_same_pictures_is_narrower_than_its_parts():
    # Both are wrong on the same 100 of 200, and one on 10 more: their intervals overlap, the difference is certain.
    other = np.arange(200) < 100
    one = np.arange(200) < 110
    difference = bootstrap(one.astype(float) - other)
    assert difference.value == pytest.approx(0.05)
    assert difference.low > 0
    assert bootstrap(one).low < bootstrap(other).high
