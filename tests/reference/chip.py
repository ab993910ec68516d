"""CHIP the slow way, straight from the paper's equations: one photo, one gate and one channel at a time."""

import math

import numpy as np


def proximity(gate: np.ndarray, sigma2: float) -> float:
    """h: how near a gate is to 'all on'."""
    return math.exp(-sum((float(d) - 1) ** 2 for d in gate) / sigma2)


def rows(
    gates: np.ndarray, pooled: np.ndarray, f: np.ndarray, g: np.ndarray, sigma2: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The regression of one class with a row for each photo and gate: z (S*N, K), g (S*N,), weights f h (S*N,).

    gates (N, K), pooled (S, K), f (S,), g (S, N).
    """
    z, answers, weights = [], [], []
    for s in range(len(pooled)):
        for n in range(len(gates)):
            z.append([float(gates[n, k]) * float(pooled[s, k]) for k in range(pooled.shape[1])])
            answers.append(float(g[s, n]))
            weights.append(float(f[s]) * proximity(gates[n], sigma2))
    return np.array(z), np.array(answers), np.array(weights)


def objective(z: np.ndarray, g: np.ndarray, weights: np.ndarray, penalty: float, w: np.ndarray) -> float:
    """Eq. 11."""
    total = 0.0
    for row, answer, weight in zip(z, g, weights, strict=True):
        total += 0.5 * weight * (answer - float(row @ w)) ** 2
    return total + penalty * float(np.abs(w).sum())


def r_squared(z: np.ndarray, g: np.ndarray, weights: np.ndarray, w: np.ndarray) -> float:
    mean = float((weights * g).sum() / weights.sum())
    missed = sum(weight * (answer - float(row @ w)) ** 2 for row, answer, weight in zip(z, g, weights, strict=True))
    varied = sum(weight * (answer - mean) ** 2 for answer, weight in zip(g, weights, strict=True))
    return float(1 - missed / varied)


def lasso(z: np.ndarray, g: np.ndarray, weights: np.ndarray, penalty: float, rounds: int = 3000) -> np.ndarray:
    """Eq. 11's optimum by coordinate descent."""
    w = np.zeros(z.shape[1])
    for _ in range(rounds):
        before = w.copy()
        for k in range(len(w)):
            rest = g - z @ w + z[:, k] * w[k]
            slope, curvature = float((weights * z[:, k] * rest).sum()), float((weights * z[:, k] ** 2).sum())
            w[k] = 0.0 if curvature == 0 else math.copysign(max(abs(slope) - penalty, 0.0), slope) / curvature
        if np.abs(w - before).max() <= 1e-14 * np.abs(w).max():
            break
    return w


def interpretation(weights: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Eq. 10: weights (K,), maps (K, h, w) -> (h, w)."""
    channels, height, width = maps.shape
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for k in range(channels):
                found[i, j] += float(weights[k]) * float(maps[k, i, j])
    return found


def enlarged(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map at another size: bilinear between the middles of its units, constant beyond the outermost."""
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * values.shape[0] / height - 0.5, 0), values.shape[0] - 1)
            x = min(max((j + 0.5) * values.shape[1] / width - 0.5, 0), values.shape[1] - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, values.shape[0] - 1), min(left + 1, values.shape[1] - 1)
            upper = values[top, left] * (1 - (x - left)) + values[top, right] * (x - left)
            lower = values[below, left] * (1 - (x - left)) + values[below, right] * (x - left)
            found[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return found


def refined(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Refined CHIP from the maps of the first and of the last layer, at the size of the first."""
    return np.maximum(first, 0) * enlarged(np.maximum(last, 0), *first.shape)


def guided(own: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Guided CHIP from a map and guided backpropagation (C, H, W): (H, W)."""
    large = enlarged(np.maximum(own, 0), *slopes.shape[1:])
    return np.max([np.abs(large * channel) for channel in slopes], axis=0)
