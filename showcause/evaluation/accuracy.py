"""Accuracy as the interpretable-CNN paper prints it. Top-1 is ``showcause.train.animals.top1``."""

import numpy as np
from numpy.typing import NDArray


def mean_logistic(logits: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Share of right yes-or-no answers over pictures and outputs, yes where a logit is above 0; (S, C) twice.

    Published multi-category accuracies are of this kind: always answering 'no' has 96.67% with 30 categories, so it
    says little beside top-1. A single-category network has one output.
    """
    if logits.shape != truth.shape:
        raise ValueError(f"logits are {logits.shape}, truth is {truth.shape}: both must be (pictures, outputs)")
    return float(((logits > 0) == truth).mean())
