"""Networks whose score is linear in one layer's activations: global average pooling and a linear head."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from showcause.layers.bcos import BcosConv2d
from showcause.nets.base import Net, Tape

SAME = 1e-4  # of the largest weight
PROBES, MIXTURES = 4, 3  # made-up activations that a head is tried on, and scores made of all classes
CONVOLUTIONS = (nn.Conv2d, BcosConv2d)


@dataclass(frozen=True)
class PooledHead:
    """logit_c = bias_c + sum over channels k of weights_ck * (sum over places of activation k).

    layer: whose activations. weights: (classes, K). bias: (classes,).
    """

    layer: str
    weights: Tensor
    bias: Tensor

    def slope(self, signs: Mapping[int, float]) -> Tensor:
        """The gradient of a weighted sum of logits by any place of the layer: (K,). signs: the weights, by class."""
        classes = torch.tensor(list(signs), device=self.weights.device)
        return self.weights.new_tensor(list(signs.values())) @ self.weights[classes]


def head_above(layer: str, pooled: PooledHead | None) -> PooledHead | None:
    """The head, if it lies right above ``layer``."""
    return pooled if pooled and pooled.layer == layer else None


def last_grid(net: Net, layers: Mapping[str, tuple[int, int, int]]) -> str:
    """The layer that maps are made of unless another is named: the last one before its places are pooled.

    That is the last to run whose grid is that of the last convolution with more than one place, activation and norm
    behind it included. A convolution that gives the class scores themselves (the head of a B-cos network) does not
    count. "" where no layer has a grid. layers: see ``layer_shapes``; in the order in which they run.
    """
    modules = dict(net.named_modules())
    names = [
        name
        for name, shape in layers.items()
        if shape[1] * shape[2] > 1 and not isinstance(modules[name], nn.Sequential)  # its last layer gives the same
    ]
    convolutions = [name for name in names if isinstance(modules[name], CONVOLUTIONS)]
    if len(convolutions) > 1 and layers[convolutions[-1]][0] == net.classes:
        names = names[: names.index(convolutions.pop())]
    if not convolutions:
        return names[-1] if names else ""
    wanted = layers[convolutions[-1]][1:]
    return [name for name in names if layers[name][1:] == wanted][-1]


def pooled_head(net: Net, layer: str, rgb: Tensor) -> PooledHead | None:
    """The head above ``layer``, if it is global average pooling and a linear layer; None if it is anything else.

    It is found by looking: whatever the layer's activations are, the gradient of each logit by them must be the same at
    every place, and what it does not account for the same for all. rgb: (1, 3, H, W), any photo; the activations that
    are tried are made up.
    """
    generator = torch.Generator().manual_seed(0)

    def made_up(out: Tensor) -> Tensor:
        values = torch.randn(PROBES, *out.shape[1:], generator=generator).to(out)
        channels = torch.randn(PROBES, out.shape[1], 1, 1, generator=generator).to(out)
        return (values + channels) * out.abs().max().clamp_min(1.0)

    forward = net.run(rgb.expand(PROBES, -1, -1, -1), Tape(frozenset([layer]), "layers", edits={layer: made_up}))
    maps = forward.activations[layer]
    # Mixtures of all classes tell whether the head is pooled, in three backward passes and not one for each class.
    for _ in range(MIXTURES):
        mixture = torch.randn(net.classes, generator=generator).to(forward.logits)
        if not _is_pooled(forward.evidence @ mixture, maps):
            return None
    weights = _weights_of(net, layer, rgb)
    constant = forward.logits - maps.detach().sum((2, 3)) @ weights.T
    # Slopes alone would take a head that is flat, such as a sigmoid far from 0, for a linear one.
    if not bool((constant - constant[:1]).abs().max() <= SAME * forward.logits.abs().max()):
        return None
    return PooledHead(layer, weights, constant.mean(0))


def _is_pooled(scores: Tensor, maps: Tensor) -> bool:
    """Whether the gradient of scores (N,) by maps (N, K, h, w) is the same at every place of every map."""
    (slopes,) = torch.autograd.grad(scores.sum(), maps, retain_graph=True, allow_unused=True)
    # Not `>`: every comparison with NaN is false, and NaN must be refused too.
    return slopes is not None and bool((slopes - slopes[:1, :, :1, :1]).abs().max() <= SAME * slopes.abs().max())


def _weights_of(net: Net, layer: str, rgb: Tensor) -> Tensor:
    """(classes, K) the gradient of each logit by any place, of a head that is pooled."""
    forward = net.run(rgb, Tape(frozenset([layer]), "layers"))
    rows = []
    for index in range(net.classes):
        (slopes,) = torch.autograd.grad(forward.evidence[0, index], forward.activations[layer], retain_graph=True)
        rows.append(slopes[0, :, 0, 0])
    return torch.stack(rows)
