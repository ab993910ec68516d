"""What a network hands to the methods."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Forward:
    """One forward pass over a batch.

    x: the encoded input (N, C, H, W). evidence: (N, classes), the logits without their bias, with the autograd graph
    if the pass was made to be explained. logits: (N, classes), detached. bias: what is in every logit besides.
    """

    x: Tensor
    evidence: Tensor
    logits: Tensor
    bias: float
