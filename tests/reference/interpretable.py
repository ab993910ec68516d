"""The interpretable layer the slow way: straight from Zhang, Wu and Zhu (CVPR 2018), one place at a time, in float64.

Maps are lists of places here: x is one filter's map (n, n), X its maps on the pictures of a batch. Exponentials are
taken as they are printed, so this is for activations that exp can hold.
"""

import math

import numpy as np

BETA = 4


def positive_template(n: int, mu: tuple[int, int]) -> np.ndarray:
    """T_mu: (n, n), section 3."""
    tau = 0.5 / n**2
    template = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            template[i, j] = tau * max(1 - BETA * (abs(i - mu[0]) + abs(j - mu[1])) / n, -1)
    return template


def all_templates(n: int) -> list[np.ndarray]:
    """The n^2 positive ones, row by row, and the negative one."""
    return [positive_template(n, (i, j)) for i in range(n) for j in range(n)] + [np.full((n, n), -0.5 / n**2)]


def strongest_place(x: np.ndarray) -> tuple[int, int]:
    """The first of the places where x is highest."""
    best = (0, 0)
    for i in range(len(x)):
        for j in range(len(x)):
            if x[i, j] > x[best]:
                best = (i, j)
    return best


def masked(x: np.ndarray) -> np.ndarray:
    """max(x o T_mu, 0), mu where x is highest."""
    return np.maximum(x * positive_template(len(x), strongest_place(x)), 0)


def center_of_mass(x: np.ndarray) -> tuple[int, int]:
    """Rounded; the middle for an empty map."""
    n = len(x)
    if x.sum() == 0:
        return round((n - 1) / 2), round((n - 1) / 2)
    row = sum(i * x[i, j] for i in range(n) for j in range(n)) / x.sum()
    column = sum(j * x[i, j] for i in range(n) for j in range(n)) / x.sum()
    return round(row), round(column)


def released_masked(x: np.ndarray, slope: float) -> np.ndarray:
    """As the authors' code does: coordinates -1..1, no tau, the peak at the centre of mass, slope from 1.5 to 3."""
    n, mu = len(x), center_of_mass(x)
    at = np.linspace(-1, 1, n)
    slope = min(max(slope, 1.5), 3.0)
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            out[i, j] = max(x[i, j] * max(1 - slope * (abs(at[i] - at[mu[0]]) + abs(at[j] - at[mu[1]])), -1), 0)
    return out


def probabilities(maps: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p(x|T) (N, n^2 + 1), p(x) (N,) and Z_T (n^2 + 1,), Eq. 2."""
    n = len(maps[0])
    alpha = n**2 / (1 + n**2)
    prior = [alpha / n**2] * n**2 + [1 - alpha]
    scores = np.array([[math.exp(np.trace(x @ t.T)) for t in all_templates(n)] for x in maps])
    z = scores.sum(0)
    given = scores / z
    return given, given @ prior, z


def loss(maps: list[np.ndarray]) -> float:
    """Loss_f = -sum_T p(T) sum_x p(x|T) log(p(x|T) / p(x)), Eq. 1."""
    given, marginal, _ = probabilities(maps)
    n = len(maps[0])
    alpha = n**2 / (1 + n**2)
    prior = [alpha / n**2] * n**2 + [1 - alpha]
    total = 0.0
    for t in range(n**2 + 1):
        for x in range(len(maps)):
            total += prior[t] * given[x, t] * math.log(given[x, t] / marginal[x])
    return -total
