"""CHIP's equations and their solution: against the golden file, scikit-learn, a slow twin, and what must hold."""

import numpy as np
import pytest

from showcause.train.chip import Equations, kkt_residual, proximity, random_gates, sparse_weights
from tests import golden_files
from tests.reference import chip as slow

CHANNELS, CLASSES, PHOTOS, GATES = 6, 3, 5, 20


def made(seed=0, channels=CHANNELS, photos=PHOTOS, gates=GATES):
    """Random numbers of the right kind: gates, pooled activations, f and g."""
    rng = np.random.default_rng(seed)
    pooled = np.abs(rng.standard_normal((photos, channels))) * np.exp(rng.standard_normal(channels))
    f, g = rng.random((photos, CLASSES)), rng.random((photos, gates, CLASSES))
    return random_gates(gates, channels, seed), pooled, f, g


def equations_of(gates, pooled, f, g, sigma2=None) -> Equations:
    equations = Equations(gates, f.shape[1], sigma2)
    for each in zip(pooled, f, g, strict=True):
        equations.add(*each)
    return equations


@pytest.fixture(scope="module")
def golden():
    return golden_files.arrays("chip")


@pytest.fixture(scope="module")
def golden_equations(golden):
    return equations_of(golden["gates"], golden["gap"], golden["f"], golden["g"])


def test_the_golden_file_s_equations(golden, golden_equations):
    assert float(golden["sigma2"]) == golden["gates"].shape[1], "the default"
    np.testing.assert_allclose(golden_equations.h, golden["h"], rtol=1e-14)
    np.testing.assert_allclose(golden_equations.rhs, golden["rhs"], rtol=1e-12)
    for index, gram in enumerate(golden["gram"]):
        np.testing.assert_allclose(golden_equations.gram(index), gram, rtol=1e-12)


def test_the_golden_file_s_optimum(golden, golden_equations):
    penalty = float(golden["lam"])
    for index, wanted in enumerate(golden["W"]):
        found = sparse_weights(golden_equations.gram(index), golden_equations.rhs[index], penalty)
        assert np.abs(found.weights - wanted).max() < 1e-8
        np.testing.assert_array_equal(found.weights != 0, wanted != 0)
        assert found.kkt < 1e-8
        assert golden_equations.objective(index, found.weights, penalty) == pytest.approx(
            golden["objective"][index], abs=1e-10
        )


@pytest.mark.parametrize("sigma2", [None, 2.5])
def test_the_equations_are_those_of_the_slow_regression(sigma2):
    gates, pooled, f, g = made()
    found = equations_of(gates, pooled, f, g, sigma2)
    weights = np.random.default_rng(1).standard_normal(CHANNELS)
    for index in range(CLASSES):
        z, answers, shares = slow.rows(gates, pooled, f[:, index], g[:, :, index], sigma2 or CHANNELS)
        np.testing.assert_allclose(found.gram(index), (z.T * shares) @ z, rtol=1e-12)
        np.testing.assert_allclose(found.rhs[index], (z.T * shares) @ answers, rtol=1e-12)
        assert found.objective(index, weights, 0.3) == pytest.approx(slow.objective(z, answers, shares, 0.3, weights))
        assert found.r_squared(index, weights) == pytest.approx(slow.r_squared(z, answers, shares, weights))


@pytest.mark.parametrize("share", [0.5, 0.05, 0.001])
def test_the_optimum_is_scikit_learn_s_and_coordinate_descent_s(share):
    lasso = pytest.importorskip("sklearn.linear_model").Lasso
    gates, pooled, f, g = made(2)
    equations = equations_of(gates, pooled, f, g)
    for index in range(CLASSES):
        penalty = share * np.abs(equations.rhs[index]).max()
        found = sparse_weights(equations.gram(index), equations.rhs[index], penalty).weights
        z, answers, shares = slow.rows(gates, pooled, f[:, index], g[:, :, index], CHANNELS)
        theirs = lasso(penalty / shares.sum(), fit_intercept=False, tol=1e-15, max_iter=100_000)
        theirs.fit(z, answers, sample_weight=shares)
        scale = np.abs(found).max()
        assert np.abs(found - theirs.coef_).max() < 1e-8 * scale
        assert np.abs(found - slow.lasso(z, answers, shares, penalty)).max() < 1e-8 * scale
        np.testing.assert_array_equal(found == 0, theirs.coef_ == 0)


@pytest.mark.parametrize(("channels", "gates", "photos"), [(64, 256, 40), (96, 24, 8), (40, 8, 400)])
@pytest.mark.parametrize("share", [0.3, 0.01, 0.0001])
def test_ill_conditioned_equations_are_solved_to_the_kkt_conditions(channels, gates, photos, share):
    """Channels that are much alike and of scales e^-6 to e^6; fewer gates than channels."""
    rng = np.random.default_rng(0)
    common = np.abs(rng.standard_normal((photos, 1)))
    pooled = (common + 0.01 * rng.random((photos, channels))) * np.exp(rng.uniform(-6, 6, channels))
    drawn = random_gates(gates, channels, 0)
    g = rng.random((photos, gates, 1)) * 0.1 + (drawn[:, :3].mean(1) * 0.9)[None, :, None]
    equations = equations_of(drawn, pooled, rng.random((photos, 1)), g)
    gram, rhs = equations.gram(0), equations.rhs[0]
    penalty = share * np.abs(rhs).max()
    found = sparse_weights(gram, rhs, penalty)
    assert found.kkt == kkt_residual(gram, rhs, penalty, found.weights) < 1e-8
    nudged = found.weights + 1e-4 * rng.standard_normal((50, channels)) * np.abs(found.weights).max()
    best = equations.objective(0, found.weights, penalty)
    assert all(equations.objective(0, each, penalty) > best for each in nudged)


def test_the_kkt_residual_sees_what_is_not_optimal():
    gates, pooled, f, g = made()
    equations = equations_of(gates, pooled, f, g)
    gram, rhs = equations.gram(0), equations.rhs[0]
    penalty = 0.05 * np.abs(rhs).max()
    weights = sparse_weights(gram, rhs, penalty).weights
    assert np.count_nonzero(weights) > 1
    assert kkt_residual(gram, rhs, penalty, weights * 1.001) > 1e-5
    dropped = np.where(np.abs(weights) == np.abs(weights).max(), 0, weights)
    assert kkt_residual(gram, rhs, penalty, dropped) > 1e-3
    assert kkt_residual(gram, rhs, 1.1 * penalty, weights) > 1e-3


def test_a_dead_channel_gets_no_weight_and_does_no_harm():
    gates, pooled, f, g = made()
    pooled[:, 2] = 0
    equations = equations_of(gates, pooled, f, g, sigma2=4)
    full = sparse_weights(equations.gram(1), equations.rhs[1], 0.1)
    assert full.weights[2] == 0
    assert full.kkt < 1e-8
    assert np.isfinite(full.weights).all()
    keep = [0, 1, 3, 4, 5]
    z, answers, shares = slow.rows(gates, pooled, f[:, 1], g[:, :, 1], 4)
    np.testing.assert_allclose(full.weights[keep], slow.lasso(z[:, keep], answers, shares, 0.1), rtol=1e-8, atol=1e-12)


def test_a_class_that_never_has_probability_gets_no_weights():
    gates, pooled, f, g = made()
    f[:, 1] = 0
    equations = equations_of(gates, pooled, f, g)
    found = sparse_weights(equations.gram(1), equations.rhs[1], 0.0)
    assert (found.weights == 0).all()
    assert found.kkt == 0
    assert np.isnan(equations.r_squared(1, found.weights))


def test_one_channel_is_solved_by_hand():
    gates, pooled, f, g = made(channels=1)
    equations = equations_of(gates, pooled, f, g)
    gram, rhs = equations.gram(0)[0, 0], equations.rhs[0, 0]
    found = sparse_weights(equations.gram(0), equations.rhs[0], 0.25 * rhs)
    assert found.weights[0] == pytest.approx(0.75 * rhs / gram, rel=1e-10)


@pytest.mark.parametrize("share", [1.0, 1.5])
def test_a_penalty_that_leaves_nothing(share):
    gates, pooled, f, g = made()
    equations = equations_of(gates, pooled, f, g)
    found = sparse_weights(equations.gram(0), equations.rhs[0], share * np.abs(equations.rhs[0]).max())
    assert (found.weights == 0).all()
    assert found.kkt == 0
    just_below = sparse_weights(equations.gram(0), equations.rhs[0], 0.99 * np.abs(equations.rhs[0]).max())
    assert np.count_nonzero(just_below.weights) == 1


def test_without_a_penalty_it_is_the_least_squares_solution():
    gates, pooled, f, g = made()
    equations = equations_of(gates, pooled, f, g)
    found = sparse_weights(equations.gram(0), equations.rhs[0], 0.0)
    np.testing.assert_allclose(found.weights, np.linalg.solve(equations.gram(0), equations.rhs[0]), rtol=1e-8)


def test_steps_that_run_out_are_told():
    gates, pooled, f, g = made()
    equations = equations_of(gates, pooled, f, g)
    found = sparse_weights(equations.gram(0), equations.rhs[0], 0.01, most_steps=10)
    assert found.steps == 10
    assert found.kkt > 1e-11


def test_a_state_carries_on_where_it_was_left():
    gates, pooled, f, g = made()
    whole, first = equations_of(gates, pooled, f, g), equations_of(gates, pooled[:2], f[:2], g[:2])
    second = Equations(gates, CLASSES)
    second.restore(first.state())
    for each in zip(pooled[2:], f[2:], g[2:], strict=True):
        second.add(*each)
        first.add(*(2 * one for one in each))  # the state was copied: what it came from goes its own way
    for name, array in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], array, err_msg=name)
    np.testing.assert_array_equal(second.gram(2), whole.gram(2))
    empty = Equations(gates, CLASSES)
    empty.restore(Equations(gates, CLASSES).state())
    assert (empty.gram(0) == 0).all()


def test_gates_are_seeded_fair_and_near_one_where_they_are_on():
    gates = random_gates(2000, 8, 3)
    np.testing.assert_array_equal(gates, random_gates(2000, 8, 3))
    assert (gates != random_gates(2000, 8, 4)).any()
    assert set(np.unique(gates)) == {0, 1}
    assert np.abs(gates.mean(0) - 0.5).max() < 0.05
    np.testing.assert_allclose(proximity(np.array([[1, 1], [1, 0], [0, 0]])), np.exp([0, -0.5, -1]))
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="sigma2 is"):
            proximity(gates, wrong)
