"""Names: agreement by hand, and who gets one."""

import json
import math

import numpy as np
import pytest

from showcause.evaluation.naming import Agreement, Observations, agreement, names_of_filters, write_names


def test_agreement_and_chance_by_hand():
    # Boxes from 0 to 4, 10 to 14 and 0 to 10, both ways. Peaks at 2, 12 and 12: the first two lie in their own.
    boxes = np.array([[2, 2, 4, 4], [12, 12, 4, 4], [5, 5, 10, 10], [2, 2, 4, 4], [np.nan] * 4], float)
    places = np.array([[2, 2], [12, 12], [12, 12], [2, 2], [2, 2]], float)
    scores = np.array([1, 1, 1, 0, 1], float)  # silent on the fourth; no part on the fifth
    found = agreement(places, scores, boxes)
    # Of the nine pairs: peak 1 lies in boxes 1 and 3, peaks 2 and 3 in box 2 each.
    assert found == Agreement(pytest.approx(2 / 3), pytest.approx(4 / 9), 3)
    nothing = agreement(places, np.zeros(5), boxes)
    assert math.isnan(nothing.agreement)
    assert nothing.pictures == 0
    assert not nothing.clear


def test_chance_is_the_mean_over_shuffles():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(20, 80, (30, 2)), rng.uniform(30, 60, (30, 2))], axis=1)
    places = rng.uniform(20, 80, (30, 2))
    exact = agreement(places, np.ones(30), boxes).chance
    shuffles = [agreement(rng.permutation(places), np.ones(30), boxes).agreement for _ in range(2000)]
    assert np.mean(shuffles) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(
    ("found", "clear"),
    [
        (Agreement(0.8, 0.4, 100), True),
        (Agreement(0.49, 0.1, 100), False),  # less than half
        (Agreement(0.8, 0.4, 19), False),  # too few pictures
        (Agreement(0.95, 0.9, 10000), False),  # a big part: a lead of less than 0.1
        (Agreement(0.6, 0.45, 20), False),  # a lead of 0.15, 1.35 standard deviations
        (Agreement(0.6, 0.45, 100), True),  # 3.02 of them
    ],
)
def test_what_deserves_a_name(found: Agreement, clear: bool):
    assert found.clear is clear


def observations(seed: int) -> Observations:
    """40 cats and 40 dogs; filters: at the cat's head, at its legs, at the middle, silent, without a category."""
    rng = np.random.default_rng(seed)
    head, legs = rng.uniform(20, 90, (80, 2)), rng.uniform(130, 200, (80, 2))
    boxes = np.stack([np.concatenate([centers, np.full((80, 2), 30.0)], axis=1) for centers in (head, legs)])
    boxes[1, :10] = np.nan
    places = np.stack([head + 5, legs - 5, np.full((80, 2), 112.0), head, head], axis=1)
    scores = np.ones((80, 5))
    scores[:, 3] = 0
    return Observations(places, scores, boxes, np.repeat([0, 1], 40))


def test_rows_are_of_the_filters_with_a_clear_part():
    rows = names_of_filters(
        np.array([0, 0, 0, 0, -1]), ["cat", "dog"], ["head", "legs"], observations(0), observations(1)
    )
    assert [(row["filter"], row["category"], row["name"], row["images"]) for row in rows] == [
        (0, "cat", "head", 40),
        (1, "cat", "legs", 30),
    ]
    assert rows[0]["agreement"] == rows[0]["test_agreement"] == 1
    assert 0 < rows[0]["chance"] < 0.5
    assert 0 < rows[0]["test_chance"] < 0.5
    assert rows[0]["test_images"] == 40


def test_the_test_split_decides_nothing():
    train, test = observations(0), observations(1)
    silent = Observations(test.places, np.zeros_like(test.scores), test.boxes, test.labels)
    first, *_ = names_of_filters(np.zeros(5, int), ["cat", "dog"], ["head", "legs"], train, silent)
    assert first["name"] == "head"
    assert first["test_agreement"] == 0
    assert first["test_images"] == 0


def test_of_two_clear_parts_the_one_hit_more_often_gives_the_name():
    one = observations(0)
    around = one.boxes[:1].copy()
    around[..., 2:] = 60  # the head with its surroundings
    both = Observations(one.places + 16, one.scores, np.concatenate([one.boxes[:1], around]), one.labels)
    (first, *_) = names_of_filters(np.zeros(5, int), ["cat", "dog"], ["head", "front"], both, both)
    assert first["name"] == "front"


def test_file_holds_a_filter_a_line(tmp_path):
    rows = names_of_filters(
        np.array([0, 0, 0, 0, 0]), ["cat", "dog"], ["head", "legs"], observations(0), observations(1)
    )
    path = write_names(tmp_path, rows)
    assert path.name == "parts.json"
    assert json.loads(path.read_text()) == {"layer": "parts", "filters": rows}
    assert sum('"filter"' in line for line in path.read_text().splitlines()) == len(rows)
    assert json.loads(write_names(tmp_path, []).read_text()) == {"layer": "parts", "filters": []}
