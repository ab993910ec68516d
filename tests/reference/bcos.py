"""B-cos units the slow way: one patch and one filter at a time, from the definition (v2, Eq. 3), in float64.

The linear map of a layer is written out as a matrix, not differentiated.
"""

import numpy as np


def unit(x: np.ndarray, alternatives: np.ndarray, b: float, norm: float) -> tuple[float, np.ndarray]:
    """Output and the row w that made it: out = w . x. alternatives: (M, D) filters, not normalised."""
    rows = [w / np.sqrt((w**2).sum()) for w in alternatives]
    best = max(rows, key=lambda row: float(row @ x))
    cosine = abs(float(best @ x)) / norm
    factor = 1.0 if b == 1 else cosine if b == 2 else (cosine + 1e-6) ** (b - 1)
    return factor * float(best @ x), factor * best


def conv(
    x: np.ndarray, weight: np.ndarray, b: float, max_out: int, stride: int, padding: int, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (O, h, w) of one image x (C, H, W), and the linear map (O*h*w, C*H*W) that the layer applied to it."""
    channels, height, width = x.shape
    size = weight.shape[-1]
    outputs, per_group = len(weight) // max_out, len(weight) // max_out // groups
    rows, columns = (height + 2 * padding - size) // stride + 1, (width + 2 * padding - size) // stride + 1
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((outputs, rows, columns))
    matrix = np.zeros((outputs, rows, columns, *padded.shape))
    for o in range(outputs):
        group = o // per_group
        inputs = slice(group * channels // groups, (group + 1) * channels // groups)
        for i in range(rows):
            for j in range(columns):
                place = (inputs, slice(i * stride, i * stride + size), slice(j * stride, j * stride + size))
                patch = padded[place].ravel()
                alternatives = weight[o * max_out : (o + 1) * max_out].reshape(max_out, -1)
                norm = np.sqrt((patch**2).sum() + 1e-6)
                out[o, i, j], row = unit(patch, alternatives, b, norm)
                matrix[(o, i, j, *place)] = row.reshape(padded[place].shape)
    inner = matrix[..., padding : padding + height, padding : padding + width]
    return out, inner.reshape(out.size, x.size)


def linear(x: np.ndarray, weight: np.ndarray, b: float, max_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (O,) of one vector x (D,), and the linear map (O, D)."""
    norm = np.sqrt((x**2).sum()) + 1e-12
    units = [unit(x, weight[o : o + max_out], b, norm) for o in range(0, len(weight), max_out)]
    return np.array([out for out, _ in units]), np.stack([row for _, row in units])
