"""Grad-CAM and Guided Grad-CAM (Selvaraju et al.: ICCV 2017), for any layer of any network.

The weight of a channel is the mean over places of d score / d activation (Eq. 1); the map is the weighted sum of the
channels, without its negative values (Eq. 2). Under a head that pools and is linear, the gradient is known beforehand;
under any other the pass keeps a graph from the layer on and no further down.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from showcause.methods.base import Ask, Attribution, Model
from showcause.methods.gradients import gradients, input_gradients, pooled_over_channels, refuse_neurons, settled_layer
from showcause.methods.targets import class_signs
from showcause.nets.base import Forward, Tape
from showcause.nets.pooled import head_above
from showcause.v1 import method_pb2
from showcause.wishes import Wish


def suits(model: Model) -> bool:
    return bool(model.last_grid)


def settle(method: method_pb2.Method, field: str, wishes: Sequence[Wish], model: Model) -> method_pb2.Method:
    """The parameters with their defaults; raises InvalidArgument for a layer that the network does not have."""
    refuse_neurons(wishes, "grad_cam")
    layer = settled_layer(method.grad_cam.layer, f"{field}.grad_cam.layer", model)
    return method_pb2.Method(grad_cam=method_pb2.GradCam(layer=layer, keep_negative=method.grad_cam.keep_negative))


def needs(method: method_pb2.Method, model: Model) -> Tape:
    layer = method.grad_cam.layer
    return Tape(frozenset([layer]), "nowhere" if head_above(layer, model.pooled) else "layers")


def explain(forward: Forward, asks: Sequence[Ask], model: Model) -> list[Attribution]:
    maps = weighted_maps(forward, asks, [ask.parameters.grad_cam.layer for ask in asks], model)
    return [
        Attribution((found if ask.parameters.grad_cam.keep_negative else found.clamp_min(0)).float().cpu().numpy())
        for ask, found in zip(asks, maps, strict=True)
    ]


def weighted_maps(forward: Forward, asks: Sequence[Ask], layers: Sequence[str], model: Model) -> list[Tensor]:
    """Eq. 2 before the ReLU, (h, w) for each ask; layers: each ask's own."""
    found: dict[int, Tensor] = {}
    for layer in dict.fromkeys(layers):
        mine = [index for index, its in enumerate(layers) if its == layer]
        activation = forward.activations[layer]
        for index, weights in zip(mine, _channel_weights(forward, [asks[i] for i in mine], layer, model), strict=True):
            found[index] = torch.einsum("k,khw->hw", weights, activation[asks[index].row].detach())
    return [found[index] for index in range(len(asks))]


def _channel_weights(forward: Forward, asks: Sequence[Ask], layer: str, model: Model) -> list[Tensor]:
    """Eq. 1, (K,) for each ask."""
    if head := head_above(layer, model.pooled):
        return [head.slope(class_signs(ask.target)) for ask in asks]
    return gradients(forward, asks, forward.activations[layer], reduced=lambda slope: slope.mean((1, 2)))


def suits_guided(model: Model) -> bool:
    return suits(model) and model.rectified


def settle_guided(method: method_pb2.Method, field: str, wishes: Sequence[Wish], model: Model) -> method_pb2.Method:
    """The same for guided_grad_cam."""
    refuse_neurons(wishes, "guided_grad_cam")
    layer = settled_layer(method.guided_grad_cam.layer, f"{field}.guided_grad_cam.layer", model)
    return method_pb2.Method(guided_grad_cam=method_pb2.GuidedGradCam(layer=layer))


def needs_guided(method: method_pb2.Method, _: Model) -> Tape:
    return Tape(frozenset([method.guided_grad_cam.layer]), "input")


def explain_guided(forward: Forward, asks: Sequence[Ask], model: Model) -> list[Attribution]:
    """Grad-CAM at the size of the input, times guided backpropagation (section 3.2)."""
    maps = weighted_maps(forward, asks, [ask.parameters.guided_grad_cam.layer for ask in asks], model)
    slopes = input_gradients(forward, asks, guided=True)
    return [
        Attribution(pooled_over_channels(enlarged(found.clamp_min(0), slope) * slope))
        for found, slope in zip(maps, slopes, strict=True)
    ]


def enlarged(found: Tensor, like: Tensor) -> Tensor:
    """A map (h, w) at the size of ``like`` (C, H, W), bilinear."""
    size = (like.shape[-2], like.shape[-1])
    return F.interpolate(found[None, None], size, mode="bilinear", align_corners=False)[0, 0]
