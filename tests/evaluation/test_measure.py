"""One category's measures together, and a network over pictures."""

import math

import numpy as np
import pytest
import torch

from showcause.evaluation.accuracy import mean_logistic
from showcause.evaluation.measure import Regions, average, measure_category
from showcause.evaluation.run import joined, learned_categories, observe, of_maps, strongest_categories
from showcause.layers.receptive_field import ReceptiveField
from showcause.nets.base import name_layers
from showcause.nets.interpretable import InterpretableCnn
from showcause.nets.trunks import conv, pool

NEAREST = np.kron(np.eye(2), np.ones((4, 1)))  # 2 places -> 8 pixels


def test_measure_category_and_average():
    # Two pictures of 8 x 8; the first filter fires upper left and covers the head there, the second is dead.
    maps = np.zeros((2, 2, 2, 2))
    maps[:, 0, 0, 0] = 1
    places, scores = np.full((2, 2, 2), 2.0), maps.max((2, 3))
    boxes = np.array([[[2.0, 2, 4, 4], [6.0, 6, 4, 4]]])  # the head: there on the first, elsewhere on the second
    found = measure_category(places, scores, boxes, (8, 8), Regions(maps, np.zeros(2), NEAREST), population=True)
    assert (found.stability.alive, found.stability.dead) == (1, 1)
    # Distances 0 and half the diagonal: their deviation is a quarter; that from the centre is 0.
    assert found.stability.instability == pytest.approx(0.25)
    assert found.stability.fixed_center == pytest.approx(0)
    assert found.interpretability == 0.5
    assert found.interpretability_max == 1
    without = measure_category(places, scores, boxes, (8, 8))
    assert math.isnan(without.interpretability)
    every = average([found, without])
    assert every.interpretability == 0.5
    assert every.stability.alive == 2


def test_mean_logistic_by_hand():
    logits = np.array([[2.0, -1, 0], [1.0, 1, -1]])
    truth = np.array([[True, False, False], [False, True, False]])
    assert mean_logistic(logits, truth) == pytest.approx(5 / 6)
    assert mean_logistic(np.full((30, 30), -1.0), np.eye(30, dtype=bool)) == pytest.approx(29 / 30)
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        mean_logistic(logits, truth[:, :2])


def test_peaks_are_the_centres_of_receptive_fields():
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 2, 1], maps[0, 0, 0, 0] = 5, 3
    found = of_maps(torch.zeros(1, 4), maps, ReceptiveField(jump=16, center=8))
    np.testing.assert_array_equal(found.places, [[[40, 24], [8, 8]]])
    np.testing.assert_array_equal(found.scores, [[5, 0]])
    np.testing.assert_array_equal(found.sums, [[8, 0]])
    assert found.maps is None


def test_strongest_category_is_that_of_the_highest_mean_sum():
    # The filter's sums are 1 on three pictures of class 0 and 2 on one of class 1: how many there are does not count.
    assert strongest_categories(np.array([[1.0], [1], [1], [2]]), np.array([0, 0, 0, 1]), 3) == [1]


def small(masked: bool = True) -> InterpretableCnn:
    torch.manual_seed(0)
    net = InterpretableCnn(3, [*conv(3, 4), *pool(2)], channels=4, top=5, filters=6, masked=masked).eval()
    name_layers(net)
    return net


def test_observing_a_network():
    net, rng = small(), np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    found = observe(net, [pictures[:2], pictures[2:]], net.receptive_field, keep_maps=True)
    rgb = torch.from_numpy(pictures).float() / 255
    with torch.no_grad():
        maps = net.parts(net.top(net.lower(rgb)))
        np.testing.assert_allclose(found.logits, net(rgb), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.maps, maps, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scores, maps.amax((2, 3)), rtol=1e-5, atol=1e-6)
    # 3 x 3, padded, then pooled by 2: unit i lies at 1 + 2 i, so the place of each filter's peak is that.
    rows, columns = np.divmod(found.maps.reshape(5, 6, -1).argmax(2), 8)
    np.testing.assert_array_equal(found.places, 1 + 2 * np.stack([rows, columns], -1))
    with pytest.raises(ValueError, match="no pictures"):
        joined([])


def test_a_twin_and_an_untrained_network_have_learned_no_category():
    net = small()
    assert learned_categories(net) is None
    net.parts.category = torch.tensor([0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(learned_categories(net), [0, 1, 2, 0, 1, 2])
    assert learned_categories(small(masked=False)) is None
