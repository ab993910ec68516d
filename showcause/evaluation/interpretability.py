"""Part interpretability (Zhang, Wu, Zhu: CVPR 2018, section 5): how often a filter's region is an annotated part.

A filter's activations in all places of all pictures have a threshold T_f, such that p(x > T_f) = 0.005. The region of a
filter on a picture is where its map, scaled up to the picture, is above T_f (Bau et al., CVPR 2017). The filter stands
for part k on a picture if the region's intersection over union with the part is above 0.2, and

    P_fk = mean over pictures with part k of 1(IoU > 0.2),    P_f = max_k P_fk.

That is ``statistic="mean"``. Printed is a maximum over pictures, which would be 1 for nearly every filter: that is
``statistic="max"``. The authors' released code does not compute this measure. "All pictures" are the caller's: on the
pictures of one category alone, 0.5% of 13 x 13 places is less than one place a picture, and no region reaches a part's
size.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from showcause.evaluation.scaling import scaled_up

Floats = NDArray[np.floating]
SHARE, LEAST_IOU = 0.005, 0.2
Statistic = Literal["mean", "max"]
STATISTICS: tuple[Statistic, ...] = ("mean", "max")


def activation_thresholds(maps: Floats, share: float = SHARE) -> Floats:
    """T_f of each filter over all pictures and places, at least 0: (S, K, n, n) -> (K,).

    At most ``share`` of the activations are above it, and nearly that many unless they are equal.
    """
    count = maps.shape[0] * maps.shape[2] * maps.shape[3]
    kth = count - 1 - int(share * count)  # in ascending order, int(share * count) values come after it
    thresholds = [np.partition(maps[:, k].ravel(), kth)[kth] for k in range(maps.shape[1])]
    return np.maximum(np.array(thresholds, maps.dtype), 0)


def part_overlaps(maps: Floats, thresholds: Floats, boxes: Floats, weights: Floats) -> Floats:
    """IoU of each filter's region with each part on each picture: (K, P, S) in 0..1, NaN where the part is absent.

    maps: (S, K, n, n). thresholds: (K,). boxes: (P, S, 4) of the parts in the frame: centre row and column, height,
    width in pixels, NaN where absent. weights: (frame, n), from ``up_scaling``.
    """
    frame = len(weights)
    found = np.full((maps.shape[1], *boxes.shape[:2]), np.nan)
    for p, box in enumerate(boxes):
        shown = np.flatnonzero(~np.isnan(box[:, 0]))
        rows, columns = (box_span(box[shown, axis], box[shown, axis + 2], frame) for axis in (0, 1))
        part = rows.sum(1) * columns.sum(1)
        for k in range(maps.shape[1]):
            region = (scaled_up(maps[shown, k], weights) > thresholds[k]).astype(np.float32)  # [H, frame, frame]
            both = ((region @ columns[..., None])[..., 0] * rows).sum(1)
            found[k, p, shown] = both / np.maximum(
                region.sum((1, 2)) + part - both, 1
            )  # 0 / 0: no pixel on either side
    return found


def part_association(overlaps: Floats, least_iou: float = LEAST_IOU, statistic: Statistic = "mean") -> Floats:
    """P_fk, how often each filter stands for each part: (K, P, S) -> (K, P) in 0..1, NaN for parts never shown."""
    shown = ~np.isnan(overlaps)
    associated = np.where(shown, overlaps, 0) > least_iou
    share = associated.sum(2) / np.maximum(shown.sum(2), 1) if statistic == "mean" else associated.any(2).astype(float)
    return np.where(shown.any(2), share, np.nan)


def box_span(centers: Floats, lengths: Floats, frame: int) -> Floats:
    """Which pixels of an axis have their centre inside, as 0 or 1: (H,) twice -> (H, frame)."""
    pixel = np.arange(frame) + 0.5
    return (np.abs(pixel - centers[:, None]) < lengths[:, None] / 2).astype(np.float32)


def interpretability(association: Floats) -> Floats:
    """P_f of each filter, that of its best part: (K, P) -> (K,), NaN where no part could be measured."""
    best = np.where(np.isnan(association), -np.inf, association).max(1, initial=-np.inf)
    return np.where(np.isfinite(best), best, np.nan)
