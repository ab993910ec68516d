"""Does a network that was just loaded do what every reply will promise? Asked of the model as it will be served."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from showcause.image import InputSpec
from showcause.importing import ImportRefused
from showcause.methods import Ask, linear_map
from showcause.model import Model
from showcause.nets.base import Forward, Tape
from showcause.nets.bcos import BcosNet
from showcause.reply import ClassTarget, Residual
from showcause.v1 import method_pb2

LEAST_SPREAD = 1e-3  # of the logits: much below it, float32's rounding of the bias is all that they tell
MOST_RESIDUAL = 1e-3
MOST_DIFFERENCE = 1e-4  # of the largest evidence, between passes that should agree; float32 rounds each its own way

PATCHES = {3: 0.5, 6: 0.25, 12: 0.125, 24: 0.125}  # how many across, how strong


def pictures(spec: InputSpec) -> Tensor:
    """Two pictures of random patches, large ones stronger than small ones as in photos; (2, 3, H, W) in 0..1.

    The same everywhere: PCG64 is specified, and its seed is fixed.
    """
    random = np.random.Generator(np.random.PCG64(0))
    size = (spec.height, spec.width)
    total = torch.zeros(2, 3, *size)
    for patches, strength in PATCHES.items():
        values = torch.from_numpy(random.random((2, 3, patches, patches), dtype=np.float32))
        total += strength * F.interpolate(values, size, mode="bilinear")
    return total


def self_test(model: Model) -> Iterator[str]:
    """A line with its figure for each thing that holds; raises ImportRefused at the first that does not."""
    _check_numbers(model)
    rgb = pictures(model.manifest.input)
    exact = isinstance(model.net, BcosNet)
    tape = Tape(start="input", hold=exact)
    forward = model.net.run(rgb, tape)
    evidence, logits = forward.evidence.detach(), forward.logits

    _require(bool(logits.isfinite().all()), "the logits are not finite")
    yield f"the logits are finite: {logits.min():.4g} to {logits.max():.4g}"

    spread = float((logits.amax(1) - logits.amin(1)).min())
    _require(
        spread > LEAST_SPREAD,
        f"the classes are equal: their logits differ by {spread:.1g}; allowed: more than {LEAST_SPREAD:g}. The signal "
        "vanishes on its way, as in untrained networks and with wrong network options",
    )
    yield f"the classes differ: their logits by {spread:.4g}"

    yield _complete(model, forward) if exact else _differentiable(forward)

    scale = float(evidence.abs().max())
    again = float((model.net.run(rgb, tape).evidence.detach() - evidence).abs().max()) / scale
    _require(again < MOST_DIFFERENCE, f"a second pass over the same input differs by {again:.1g}")
    yield f"the same input gives the same answer: difference {again:.1g}"

    predicted = float((model.net.run(rgb).evidence - evidence).abs().max()) / scale
    _require(predicted < MOST_DIFFERENCE, f"a prediction alone differs from an explained one by {predicted:.1g}")
    yield f"a prediction alone is the one that is explained: difference {predicted:.1g}"

    singles = torch.cat([model.net.run(one[None], tape).evidence.detach() for one in rgb])
    alone = float((singles - evidence).abs().max()) / scale
    _require(alone < MOST_DIFFERENCE, f"two pictures in one batch and each alone differ by {alone:.1g}")
    yield f"a batch of two equals two singles: difference {alone:.1g}"


def _complete(model: Model, forward: Forward) -> str:
    """Of a B-cos network: its linear map explains all of the logit."""
    asks = []
    for row, index in enumerate(forward.logits.argmax(1).tolist()):
        parameters = linear_map.settle(method_pb2.Method(linear_map=method_pb2.LinearMap()), "")
        asks.append(Ask(row, ClassTarget(index, model.manifest.labels[index]), parameters))
    found = linear_map.explain(forward, asks)
    residual = max(part.relative for each in found for part in each.evidence if isinstance(part, Residual))
    _require(
        residual < MOST_RESIDUAL,
        f"the linear map's contributions miss the logit minus its bias by {residual:.1g} of it; "
        f"allowed: less than {MOST_RESIDUAL:g}",
    )
    return f"the linear map's contributions sum to the logit minus its bias: residual {residual:.1g}"


def _differentiable(forward: Forward) -> str:
    """Of any other network: the strongest logit's gradient, which maps are made of, reaches the input."""
    _require(
        forward.evidence.requires_grad, "no gradient reaches the input: a part of the network computes without autograd"
    )
    (slopes,) = torch.autograd.grad(forward.evidence.amax(1).sum(), forward.x)
    _require(bool(slopes.isfinite().all()), "the gradient by the input is not finite")
    lengths = slopes.flatten(1).norm(dim=1)
    _require(bool((lengths > 0).all()), "the gradient by the input is zero")
    return f"the gradient by the input is finite, and not zero: length {lengths.min():.2g}"


def _check_numbers(model: Model) -> None:
    """Names the tensor where the reason for a NaN can be seen in the weights themselves."""
    for key, value in model.net.state_dict().items():
        _require(bool(value.isfinite().all()), f"{key} holds NaN or infinity")
        if isinstance(model.net, BcosNet) and key.endswith("linear.weight"):
            _require(bool(value.flatten(1).any(1).all()), f"{key} has a filter of zeros, which has no direction")
        if key.endswith("running_var"):
            _require(bool((value >= 0).all()), f"{key} has a variance below 0")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ImportRefused(f"the self-test failed: {otherwise}")
