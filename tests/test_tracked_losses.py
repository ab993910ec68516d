"""The losses of the setting ``tracked``, worked out by hand."""

import math

import pytest
import torch

from showcause.layers import interpretable as layer


def double(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_peak_loss_by_hand():
    # Peaks: 2 and 1 on pictures of the category, -1 on another; the margin is 2.
    y = double([[[2.0, 1], [-3, 0]]], [[[0, 1], [0, -5]]], [[[-1, -2], [-3, -4]]]).requires_grad_()
    is_target = torch.tensor([[True], [True], [False]])
    loss = layer.peak_loss(y, is_target)
    assert loss.item() == pytest.approx((softplus(2 - 2) + softplus(2 - 1)) / 2 + softplus(-1 - 2))
    (gradient,) = torch.autograd.grad(loss, y)
    assert torch.equal(gradient[:, 0].sign(), double([[-1, 0], [0, 0]], [[0, -1], [0, 0]], [[1, 0], [0, 0]]))
    # A batch that shows nothing of the category counts for what it is.
    assert layer.peak_loss(y[2:], is_target[2:]).item() == pytest.approx(softplus(-1 - 2))


def test_soft_places_by_hand():
    # Sharpness 3: weights 1, 3, 1, 1 of 6. Row: the lower two of them; column: the right two.
    y = double([[[0, math.log(3) / 3], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [900, 0]]])
    torch.testing.assert_close(layer.soft_places(y), double([[1 / 3, 2 / 3], [0.5, 0.5], [1, 0]]))


def test_overlap_loss_by_hand():
    third = [[0, math.log(3)], [0, 0]]  # 1/6, 1/2, 1/6, 1/6
    flat, left, right = [[0, 0], [0, 0]], [[900, 0], [0, 0]], [[0, 900], [0, 0]]
    for maps, expected in (
        ([third, third], 1 / 3),  # 1/36 + 1/4 + 1/36 + 1/36
        ([third, flat], 1 / 4),
        ([left, right], 0),
        ([left, left], 1),
        ([left, right, left, right], 0),  # filters 0 and 2 are one group: they may look at the same place
        ([left, right, right, left], 1 / 2),
    ):
        assert layer.overlap_loss(double(maps), 2).item() == pytest.approx(expected), maps
    # Three groups: of their three pairs one falls together.
    assert layer.overlap_loss(double([left, right, left]), 3).item() == pytest.approx(1 / 3)


def test_balanced_categories_by_hand():
    # Shares of class 0: 0.9, 0.8, 0.6, 0.3. Two of four fit into it; the third must go to class 1. How strong a filter
    # is does not count.
    seen = double([0.9, 0.1], [80, 20], [6, 4], [3, 7])
    assert layer.balanced(seen).tolist() == [0, 0, 1, 1]
    assert sorted(layer.balanced(torch.zeros(6, 3)).tolist()) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="4 filters cannot be shared out among 3 classes"):
        layer.balanced(torch.zeros(4, 3))


def test_overlap_of_fewer_filters_than_groups():
    assert layer.overlap_loss(torch.randn(2, 1, 5, 5), 4) == 0
    assert layer.overlap_loss(torch.randn(2, 3, 5, 5), 4).isfinite()
