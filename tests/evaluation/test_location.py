"""Location instability: worked out by hand, against the golden numbers, and what its controls must show."""

import math

import numpy as np
import pytest

from showcause.evaluation.location import (
    average,
    fixed_center,
    instability,
    mean,
    over_parts,
    random_places,
    shuffled,
    stability,
)
from tests import golden_files

GOLDEN, FACTS = golden_files.arrays("icnn"), golden_files.facts("icnn")
SIZE = (6, 8)  # diagonal 10
LANDMARKS = np.array([[[0, 0], [0, 0], [3, 4], [np.nan, np.nan]]])


def test_by_hand():
    # Distances from (0, 0), (0, 0), (3, 4): 5, 0, 5 pixels, of a diagonal of 10: 0.5, 0, 0.5. Their mean is 1/3, their
    # squared deviations 1/36, 4/36, 1/36: sum 1/6; by N: 1/18, by N - 1: 1/12. The fourth picture shows no part.
    places = np.array([[[3, 4]], [[0, 0]], [[0, 0]], [[5, 5]]], float)
    scores = np.array([[1], [2], [3], [9]], float)
    assert instability(places, scores, LANDMARKS, SIZE, population=True)[0, 0] == pytest.approx(math.sqrt(1 / 18))
    assert instability(places, scores, LANDMARKS, SIZE)[0, 0] == pytest.approx(math.sqrt(1 / 12))
    # The two strongest that show the part are the second and third: 0 and 0.5, mean 0.25, population deviation 0.25.
    assert instability(places, scores, LANDMARKS, SIZE, True, most=2)[0, 0] == pytest.approx(0.25)


def test_a_filter_at_a_fixed_distance_is_stable_and_one_picture_measures_nothing():
    places = np.array([[[3, 4]], [[3, 4]], [[0, 0]], [[0, 0]]], float)  # 5 pixels away each time
    assert instability(places, np.ones((4, 1)), LANDMARKS, SIZE)[0, 0] == pytest.approx(0)
    alone = np.where(np.arange(4)[None, :, None] == 1, 1.0, np.nan) * np.ones((1, 4, 2))
    assert np.isnan(instability(places, np.ones((4, 1)), alone, SIZE)[0, 0])


@pytest.mark.parametrize("name", ["loc_same_size", "loc_mixed_size"])
def test_golden(name: str):
    # pos counts pixel centres from 0; half a pixel on both sides changes no distance.
    places, landmarks = GOLDEN[f"{name}.pos"].transpose(1, 0, 2) + 0.5, GOLDEN[f"{name}.landmarks"] + 0.5
    np.testing.assert_array_equal(places, 8 + 16 * GOLDEN[f"{name}.muhat"].transpose(1, 0, 2))
    given = places, GOLDEN[f"{name}.score"].T, landmarks, GOLDEN[f"{name}.hw"]
    for population, key in ((True, "D_population"), (False, "D_n_minus_1")):
        found = instability(*given, population)
        np.testing.assert_allclose(found, GOLDEN[f"{name}.{key}"], rtol=0, atol=1e-12)
    for population, key in ((True, "mean_population"), (False, "mean_n_minus_1")):
        assert mean(over_parts(instability(*given, population))) == pytest.approx(FACTS[name][key], abs=1e-12)


def following(rng: np.random.Generator, pictures: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Two landmarks in 100 x 100, the second in half; filters: at the first, at the centre, anywhere, dead."""
    landmarks = rng.uniform(10, 90, (2, pictures, 2))
    landmarks[1, ::2] = np.nan
    still = np.full((pictures, 2), 50.0)
    return np.stack([landmarks[0], still, rng.uniform(0, 100, (pictures, 2)), still], axis=1), landmarks


def test_controls_tell_a_filter_that_follows_its_part_from_one_that_stands_still():
    places, landmarks = following(np.random.default_rng(0), 100)
    given = places, np.ones((100, 4)), landmarks, (100, 100)
    own, dealt = instability(*given), shuffled(*given)
    assert own[0, 0] == pytest.approx(0)
    assert dealt[0, 0] > 0.1, "its places belong to other pictures"
    np.testing.assert_allclose(own[1], dealt[1], atol=1e-12, err_msg="a fixed place is the same when shuffled")
    np.testing.assert_allclose(own[1], fixed_center(landmarks, (100, 100)), atol=1e-12)
    assert own[2, 0] == pytest.approx(random_places(landmarks, (100, 100))[0], abs=0.03)
    np.testing.assert_array_equal(dealt, shuffled(*given))  # seeded
    assert not np.array_equal(dealt, shuffled(*given, seed=1))


def test_shuffling_keeps_places_among_the_pictures_that_count():
    # Only the first two pictures show the part; the filter's place in the third must never be dealt to them. Diagonal
    # 5. Places (0, 0) and (3, 4), landmarks both (0, 0): the distances are 0 and 1 however they are dealt.
    places = np.array([[[0, 0]], [[3, 4]], [[1, 1]]], float)
    landmarks = np.array([[[0, 0], [0, 0], [np.nan, np.nan]]])
    found = shuffled(places, np.ones((3, 1)), landmarks, (3, 4), population=True)
    assert found[0, 0] == pytest.approx(0.5)


def test_random_places_in_a_thin_frame():
    # In 0 x 1 pixels with the landmark at the end, the distance is uniform in 0..1: variance 1/12, by N - 1 unbiased.
    landmarks = np.zeros((1, 400, 2))
    assert random_places(landmarks, (0, 1))[0] == pytest.approx(math.sqrt(1 / 12), abs=2e-3)


def test_stability_leaves_dead_filters_out_and_counts():
    places, landmarks = following(np.random.default_rng(1))
    scores = np.ones((60, 4))
    scores[:, 3] = 0
    scores[:31, 2] = 0  # fires on 29 of 60
    found = stability(places, scores, landmarks, (100, 100))
    assert (found.alive, found.dead, found.rare, found.pictures) == (3, 1, 1, (60, 30))
    own = instability(places, scores, landmarks, (100, 100)).mean(1)
    assert found.instability == pytest.approx(own[:3].mean())
    assert found.frequent_instability == pytest.approx(own[:2].mean())
    assert found.frequent_instability < found.frequent_shuffled
    assert found.fixed_center == pytest.approx(own[1])
    assert found.random > found.fixed_center
    assert found.tracking in (pytest.approx(1 / 3), pytest.approx(2 / 3))  # the random filter may fall on either side


def test_a_part_that_no_picture_shows_counts_for_nothing():
    places, landmarks = following(np.random.default_rng(2))
    absent = np.concatenate([landmarks[:1], np.full((1, 60, 2), np.nan)])
    one, two = (stability(places, np.ones((60, 4)), these, (100, 100)) for these in (landmarks[:1], absent))
    assert (one.instability, one.fixed_center, one.random) == pytest.approx(
        (two.instability, two.fixed_center, two.random)
    )
    assert two.pictures == (60, 0)


def test_averages():
    places, landmarks = following(np.random.default_rng(3))
    scores = np.ones((60, 4))
    one = stability(places, scores, landmarks, (100, 100))
    other = stability(places[:, 1:2], scores[:, 1:2], landmarks, (100, 100))
    nothing = stability(places[:, :0], scores[:, :0], landmarks, (100, 100))
    assert math.isnan(nothing.instability)
    assert nothing.fixed_center == one.fixed_center
    every = average([one, other, nothing])
    assert every.instability == pytest.approx((one.instability + other.instability) / 2)
    assert every.alive == 5
    assert every.pictures == (180, 90)
    # by filter: four of the one, one of the other
    assert average([one, other], by_filter=True).instability == pytest.approx(
        (4 * one.instability + other.instability) / 5
    )
