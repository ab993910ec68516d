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
from showcause.reply import ClassTarget
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
    forward = model.net.run(rgb, explain=True)
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

    asks = []
    for row, index in enumerate(logits.argmax(1).tolist()):
        parameters = linear_map.settle(method_pb2.Method(linear_map=method_pb2.LinearMap()), "")
        asks.append(Ask(row, ClassTarget(index, model.manifest.labels[index]), parameters))
    found = linear_map.explain(forward, asks)
    residual = max(evidence.relative for attribution in found for evidence in attribution.evidence)
    _require(
        residual < MOST_RESIDUAL,
        f"the linear map's contributions miss the logit minus its bias by {residual:.1g} of it; "
        f"allowed: less than {MOST_RESIDUAL:g}",
    )
    yield f"the linear map's contributions sum to the logit minus its bias: residual {residual:.1g}"

    scale = float(evidence.abs().max())
    again = float((model.net.run(rgb, explain=True).evidence.detach() - evidence).abs().max()) / scale
    _require(again < MOST_DIFFERENCE, f"a second pass over the same input differs by {again:.1g}")
    yield f"the same input gives the same answer: difference {again:.1g}"

    singles = torch.cat([model.net.run(one[None], explain=True).evidence.detach() for one in rgb])
    alone = float((singles - evidence).abs().max()) / scale
    _require(alone < MOST_DIFFERENCE, f"two pictures in one batch and each alone differ by {alone:.1g}")
    yield f"a batch of two equals two singles: difference {alone:.1g}"


def _check_numbers(model: Model) -> None:
    """Names the tensor where the reason for a NaN can be seen in the weights themselves."""
    for key, value in model.net.state_dict().items():
        _require(bool(value.isfinite().all()), f"{key} holds NaN or infinity")
        if key.endswith("linear.weight"):
            _require(bool(value.flatten(1).any(1).all()), f"{key} has a filter of zeros, which has no direction")
        if key.endswith("running_var"):
            _require(bool((value >= 0).all()), f"{key} has a variance below 0")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ImportRefused(f"the self-test failed: {otherwise}")
