"""The linear map W(x) of a B-cos network (Boehle, Fritz, Schiele: CVPR 2022, Eq. 5; v2: TPAMI 2024).

With every B-cos factor held, the network is linear in its input, ``logit - bias = sum(W(x) * x)``, so W(x) is the
gradient of the logit and one walk back through the network gives it for a whole batch, each item with a target of its
own. The same holds for every unit inside the network (v1, appendix A), and for the difference of two logits. Classes
are walked back by the network's program (``showcause.nets.bcos_program``), units by autograd.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from showcause.errors import out_of_range
from showcause.methods.base import Ask, Attribution, Model, rounds
from showcause.methods.targets import bias, class_signs, score
from showcause.nets.base import Forward, Tape
from showcause.nets.bcos import BcosNet
from showcause.reply import Residual
from showcause.v1 import method_pb2

SMOOTHING_PX, OPACITY_PERCENTILE = 15, 99.5  # as in the authors' figures
MOST_SMOOTHING_PX = 63
EPS = 1e-12


def suits(model: Model) -> bool:
    return isinstance(model.net, BcosNet)


def needs(*_: object) -> Tape:
    return Tape(start="input", hold=True)


def settle(method: method_pb2.Method, field: str, *_: object) -> method_pb2.Method:
    """The parameters with their defaults; raises InvalidArgument naming ``field``. Every target can be explained."""
    sent = method.linear_map
    smoothing, percentile = sent.smoothing_px or SMOOTHING_PX, sent.opacity_percentile or OPACITY_PERCENTILE
    if not 0 < smoothing <= MOST_SMOOTHING_PX or smoothing % 2 == 0:
        allowed = f"odd, 1 to {MOST_SMOOTHING_PX}"
        raise out_of_range(f"{field}.linear_map.smoothing_px", smoothing, allowed)
    if not (math.isfinite(percentile) and 0 < percentile <= 100):
        raise out_of_range(f"{field}.linear_map.opacity_percentile", percentile, "greater than 0, up to 100")
    settled = method_pb2.LinearMap(
        include_weights=sent.include_weights, smoothing_px=smoothing, opacity_percentile=percentile
    )
    return method_pb2.Method(linear_map=settled)


def explain(forward: Forward, asks: Sequence[Ask], *_: object) -> list[Attribution]:
    """One walk back for the first target of every row, one for every second target, and so on."""
    found: dict[int, Attribution] = {}
    for indices in rounds(asks):
        chosen = [asks[index] for index in indices]
        rows = [ask.row for ask in chosen]
        scores = torch.stack([score(forward, ask.row, ask.target) for ask in chosen])
        weights = _weights(forward, chosen, scores)
        contributions = (weights * forward.x.detach()[rows]).sum(1).cpu()  # [n,H,W]
        for index, ask, value, w, contribution in zip(
            indices, chosen, scores.detach(), weights.float().cpu(), contributions, strict=True
        ):
            parameters, constant = ask.parameters.linear_map, bias(forward, ask.target)
            found[index] = Attribution(
                map=contribution.float().numpy(),
                evidence=(Residual(float(contribution.double().sum()), constant, float(value + constant)),),
                weights=w.numpy() if parameters.include_weights else None,
                color=partial(color_picture, w, contribution, parameters.smoothing_px, parameters.opacity_percentile),
            )
    return [found[index] for index in range(len(asks))]


def _weights(forward: Forward, asks: Sequence[Ask], scores: Tensor) -> Tensor:
    rows = [ask.row for ask in asks]
    if forward.pull is not None:
        return forward.pull(rows, [class_signs(ask.target) for ask in asks])
    return linear_map(forward, scores, rows)


def linear_map(forward: Forward, scores: Tensor, rows: Sequence[int]) -> Tensor:
    """W(x): (n, C, H, W), the linear maps behind n ``scores``, one for each of n different ``rows`` of the batch."""
    # Rows do not depend on each other: the gradient of the sum parts into them again.
    (weights,) = torch.autograd.grad(scores.sum(), forward.x, retain_graph=True)
    return weights[rows]


def color_picture(
    weights: Tensor, contribution: Tensor, smoothing_px: int = SMOOTHING_PX, percentile: float = OPACITY_PERCENTILE
) -> NDArray[np.float32]:
    """The colours that W(x) looked for (v1, section 4.3): weights (6, H, W), contribution (H, W) -> (H, W, 4) in 0..1.

    Each colour is the share of its channel against its inverse's; the opacity is the length of W where it speaks for
    the class, smoothed, and clipped at a percentile.
    """
    positive = (weights / (weights.abs().amax(0) + EPS)).clamp_min(0)
    rgb = positive[:3] / (positive[:3] + positive[3:] + EPS)
    length = torch.linalg.vector_norm(weights, dim=0)
    opacity = torch.where(contribution < 0, EPS, length)[None]
    for kernel in ((smoothing_px, 1), (1, smoothing_px)):  # one after the other: 2 k values for each mean, and not k^2
        opacity = F.avg_pool2d(opacity, kernel, 1, (kernel[0] // 2, kernel[1] // 2))
    opacity = (opacity / quantile(opacity, percentile / 100)).clamp(0, 1)
    picture: NDArray[np.float32] = torch.cat([rgb, opacity]).permute(1, 2, 0).numpy()
    return picture


def quantile(values: Tensor, share: float) -> Tensor:
    """``torch.quantile``, between two values linear; only those from the quantile up are put in order."""
    place = share * (values.numel() - 1)
    below = int(place)
    strongest = values.flatten().topk(values.numel() - below).values  # the last one is the value at ``below``
    return torch.lerp(strongest[-1], strongest[-min(2, len(strongest))], place - below)
