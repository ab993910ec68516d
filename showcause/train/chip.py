"""The mathematics of CHIP, distilled channel importance (Cui, Wang, Wang: arXiv 1902.02497). numpy alone, in float64.

A gate d switches each of a layer's K channels on or off. With a the channels' means over a photo's places, f^c the
network's probability of class c and g^c the same behind the gate, each class gets sparse weights w with g^c about
w . (d o a), by a regression that is weighted with f^c and with the gate's proximity h to 'all on' (Eq. 11):

    min_w  1/2 sum over photos s and gates n of f_s^c h_n (g_sn^c - w . (d_n o a_s))^2 + lambda |w|_1

All photos share their gates, so that the matrix of the normal equations needs no perturbed pass (o: elementwise),

    G_c = (sum_n h_n d_n d_n^T) o (sum_s f_s^c a_s a_s^T),    b_c = sum_sn f_s^c h_n g_sn^c (d_n o a_s),

and only a_s and f_s of each photo are kept. The paper gives no values for sigma^2 and lambda: sigma^2 = K keeps h from
vanishing, and lambda is best told as a share of max |b_c|, at which all weights are 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TOLERANCE = 1e-11  # of the KKT residual
MOST_STEPS = 20_000
CHECKED_EVERY = 10  # steps
RELAXATION = 1.6  # of ADMM; 1.5 to 1.8 are usual (Boyd and others, 2011, section 3.4.3)
LEAST_VARIANCE = 1e-6  # of g, relative to its mean square: below it there is nothing to be explained
LEAST_PROXIMITY = 1e-100  # of a gate that is all off: float64 still holds its products with probabilities
LEAST_CURVATURE = 1e-6  # of the largest: below it an eigenvalue does not choose the penalty


def random_gates(count: int, channels: int, seed: int | tuple[int, ...]) -> Floats:
    """Gates of 0 and 1, each with probability 1/2: (count, channels)."""
    return np.random.default_rng(seed).integers(0, 2, (count, channels)).astype(np.float64)


def least_sigma2(channels: int) -> float:
    """Below it the proximity of gates vanishes."""
    return channels / -math.log(LEAST_PROXIMITY)


def proximity(gates: Floats, sigma2: float | None = None) -> Floats:
    """h = exp(-|d - 1|^2 / sigma2) of each gate: (N, K) -> (N,). sigma2: see ``least_sigma2``; default K."""
    sigma2 = float(gates.shape[1]) if sigma2 is None else sigma2
    least = least_sigma2(gates.shape[1])
    if not sigma2 >= least:
        raise ValueError(f"sigma2 is {sigma2}; allowed: from {least:.3g}")
    return np.exp(-((gates - 1) ** 2).sum(1) / sigma2)


class Equations:
    """The weighted normal equations of C classes, for one layer, over photos that come one after the other.

    gates: (N, K), shared by all photos. sigma2: see ``proximity``. rhs: b_c as (C, K). squares: sum of f h g^2, sums:
    of f h g, total: of f h, (C,) each.
    """

    def __init__(self, gates: Floats, classes: int, sigma2: float | None = None):
        self.gates, self.h = gates, proximity(gates, sigma2)
        self.coupling: Floats = (gates.T * self.h) @ gates  # [K,K], sum over gates of h d d^T
        self.rhs = np.zeros((classes, gates.shape[1]))
        self.squares, self.sums, self.total = np.zeros(classes), np.zeros(classes), np.zeros(classes)
        self._pooled: list[Floats] = []
        self._probabilities: list[Floats] = []

    def add(self, pooled: Floats, probabilities: Floats, perturbed: Floats) -> None:
        """One photo: a (K,), f (C,), and g (N, C), the probabilities behind each gate."""
        weighted = perturbed * self.h[:, None]  # [N,C]
        self.rhs += probabilities[:, None] * (weighted.T @ self.gates) * pooled
        self.squares += probabilities * (weighted * perturbed).sum(0)
        self.sums += probabilities * weighted.sum(0)
        self.total += probabilities * self.h.sum()
        self._pooled.append(pooled)
        self._probabilities.append(probabilities)

    def gram(self, index: int) -> Floats:
        """G_c of one class: (K, K)."""
        if not self._pooled:
            return np.zeros_like(self.coupling)
        pooled, shares = np.stack(self._pooled), np.array([each[index] for each in self._probabilities])
        return self.coupling * ((pooled.T * shares) @ pooled)

    def r_squared(self, index: int, weights: Floats, gram: Floats | None = None) -> float:
        """The share of g's variance, weighted with f h, that the linear model explains; NaN where g hardly varies.

        gram: G_c, where it is known already.
        """
        gram = self.gram(index) if gram is None else gram
        unexplained = self.squares[index] - 2 * weights @ self.rhs[index] + weights @ gram @ weights
        total = self.total[index]
        variance = self.squares[index] - self.sums[index] ** 2 / total if total > 0 else 0.0
        return float(1 - unexplained / variance) if variance > LEAST_VARIANCE * self.squares[index] else float("nan")

    def objective(self, index: int, weights: Floats, penalty: float) -> float:
        """What Eq. 11 minimises."""
        unexplained = self.squares[index] - 2 * weights @ self.rhs[index] + weights @ self.gram(index) @ weights
        return float(unexplained / 2 + penalty * np.abs(weights).sum())

    def state(self) -> dict[str, NDArray[np.float64]]:
        """All that the photos so far have left, for a checkpoint."""
        channels, classes = self.gates.shape[1], len(self.total)
        return {
            "pooled": np.array(self._pooled).reshape(-1, channels),
            "probabilities": np.array(self._probabilities).reshape(-1, classes),
            "rhs": self.rhs,
            "squares": self.squares,
            "sums": self.sums,
            "total": self.total,
        }

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """The inverse of ``state``, on equations with the same gates."""
        self._pooled, self._probabilities = list(state["pooled"]), list(state["probabilities"])
        self.rhs, self.squares = state["rhs"].copy(), state["squares"].copy()
        self.sums, self.total = state["sums"].copy(), state["total"].copy()


@dataclass(frozen=True)
class Solution:
    """Weights (K,), their KKT residual (see ``kkt_residual``), and how many steps they took."""

    weights: Floats
    kkt: float
    steps: int


def kkt_residual(gram: Floats, rhs: Floats, penalty: float, weights: Floats) -> float:
    """How far weights are from the optimum: the largest violation of |b - G w| <= lambda, with equality (and the
    weight's sign) where a weight is not 0, as a share of max |b|."""
    slope = rhs - gram @ weights
    violation = np.where(
        weights == 0, np.maximum(np.abs(slope) - penalty, 0), np.abs(slope - penalty * np.sign(weights))
    )
    return float(violation.max() / max(float(np.abs(rhs).max()), np.finfo(np.float64).tiny))


def sparse_weights(
    gram: Floats, rhs: Floats, penalty: float, tolerance: float = TOLERANCE, most_steps: int = MOST_STEPS
) -> Solution:
    """min_w 1/2 w^T G w - b^T w + lambda |w|_1 by ADMM (Boyd and others, 2011, section 6.4).

    gram: (K, K), symmetric, without negative eigenvalues. rhs: (K,). Ends where the KKT residual is within the
    tolerance, or after so many steps with what there is then.
    """
    alive = np.diag(gram) > 0  # a dead channel's row is 0, and so is its weight
    weights = np.zeros(len(rhs))
    if penalty >= np.abs(rhs).max(initial=0.0) or not alive.any():
        return Solution(weights, kkt_residual(gram, rhs, penalty, weights), 0)
    # Channels differ widely in scale: in units in which each has curvature 1, ADMM needs far fewer steps.
    scale = np.sqrt(np.diag(gram)[alive])
    curvature, basis = np.linalg.eigh(gram[np.ix_(alive, alive)] / np.outer(scale, scale))
    b, limits = rhs[alive] / scale, penalty / scale
    rho = float(np.sqrt(max(curvature[0], LEAST_CURVATURE * curvature[-1]) * curvature[-1]))
    inverse = (basis / (np.maximum(curvature, 0) + rho)) @ basis.T
    z, u = np.zeros_like(b), np.zeros_like(b)
    steps, kkt = 0, float("inf")
    while kkt > tolerance and steps < most_steps:
        for _ in range(CHECKED_EVERY):
            x = inverse @ (b + rho * (z - u))
            x = RELAXATION * x + (1 - RELAXATION) * z
            moved = x + u
            z = np.sign(moved) * np.maximum(np.abs(moved) - limits / rho, 0)
            u = moved - z
        steps += CHECKED_EVERY
        weights[alive] = z / scale
        kkt = kkt_residual(gram, rhs, penalty, weights)
    return Solution(weights, kkt, steps)
