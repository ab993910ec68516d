"""The networks that can be served: builders by name, as ``network`` in a model.toml names them.

A builder takes the number of classes and the table ``network_options`` of the model.toml; each row of the table here
is a family's builder with the options that make it that network. An operator's own builders need no row: they are named
``python:PACKAGE.MODULE:BUILDER`` (see ``installed.py``).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from showcause.nets.base import Net, name_layers
from showcause.nets.bcos_densenet import BcosDenseNet
from showcause.nets.bcos_inception import BcosInception
from showcause.nets.bcos_plain import cifar9
from showcause.nets.bcos_resnet import BcosResNet
from showcause.nets.bcos_vgg import BcosVgg
from showcause.nets.installed import installed, is_installed
from showcause.nets.interpretable import InterpretableCnn
from showcause.nets.ordinary import ordinary
from showcause.nets.plain import PlainResNet, plain_alexnet, plain_vgg16
from showcause.nets.trunks import alexnet, vgg16, vgg_m, vgg_s

VGG11: dict[str, Any] = {
    "stages": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "hidden": (4096, 4096),
    "pool_last": True,
    "relu": False,
}
V1: dict[str, Any] = {
    "max_out": 2,
    "norm": False,
    "bias": math.log(0.01 / 0.99),
}  # layers and bias as in the first paper

BCOS_NETS: dict[str, Callable[..., Net]] = {
    # In the key layout of the official v2 checkpoints.
    "bcos_resnet18": partial(BcosResNet, blocks=(2, 2, 2, 2)),
    "bcos_resnet34": partial(BcosResNet, blocks=(3, 4, 6, 3)),
    "bcos_resnet50": partial(BcosResNet, blocks=(3, 4, 6, 3), bottleneck=True),
    "bcos_resnet101": partial(BcosResNet, blocks=(3, 4, 23, 3), bottleneck=True),
    "bcos_resnet152": partial(BcosResNet, blocks=(3, 8, 36, 3), bottleneck=True),
    "bcos_densenet121": partial(BcosDenseNet, blocks=(6, 12, 24, 16)),
    "bcos_vgg11": partial(BcosVgg, **VGG11),
    # As the first paper describes them.
    "bcos_v1_vgg11": partial(BcosVgg, **VGG11, **V1, s=1000, temperature=0.1),
    "bcos_v1_inception3": partial(BcosInception, **V1, s=200),
    "bcos_v1_cifar9": cifar9,
    # What Showcause ships.
    "bcos_vgg": BcosVgg,
}


def _interpretable(lower: Callable[[], list[nn.Module]], channels: int, top: int) -> Callable[..., Net]:
    """Layers are made anew for each network; lower: those below the top convolution, with ``channels`` outputs."""
    return lambda classes, **options: InterpretableCnn(classes, lower(), channels, top, **options)


INTERPRETABLE_NETS: dict[str, Callable[..., Net]] = {
    "interpretable_alexnet": _interpretable(alexnet, 256, 256),
    "interpretable_vgg16": _interpretable(vgg16, 512, 512),
    "interpretable_vgg_m": _interpretable(vgg_m, 512, 512),
    "interpretable_vgg_s": _interpretable(vgg_s, 512, 512),
}

# In torchvision's key layout.
PLAIN_NETS: dict[str, Callable[..., Net]] = {
    "plain_alexnet": partial(ordinary, plain_alexnet),
    "plain_vgg16": partial(ordinary, plain_vgg16),
    "plain_resnet18": partial(ordinary, PlainResNet, blocks=(2, 2, 2, 2)),
    "plain_resnet34": partial(ordinary, PlainResNet, blocks=(3, 4, 6, 3)),
    "plain_resnet50": partial(ordinary, PlainResNet, blocks=(3, 4, 6, 3), bottleneck=True),
}

NETS = BCOS_NETS | INTERPRETABLE_NETS | PLAIN_NETS  # the first word of a name chooses the handler


def build(network: str, classes: int, options: Mapping[str, Any]) -> Net:
    """An untrained network; raises ValueError naming the network or option that is wrong."""
    if is_installed(network):
        builder: Callable[..., Net] = partial(ordinary, installed(network))
    elif network in NETS:
        builder = NETS[network]
    else:
        raise ValueError(f"network is {network!r}; allowed: {', '.join(NETS)}, or python:PACKAGE.MODULE:BUILDER")
    try:
        net = builder(classes, **options)
    except (TypeError, RuntimeError, ArithmeticError) as error:  # what torch and arithmetic make of wrong options
        raise ValueError(f"network_options of {network}: {error}") from error
    name_layers(net)
    return net


def outline(network: str, classes: int, options: Mapping[str, Any]) -> Net:
    """The same for its names and shapes alone, in eval mode.

    Where the builder is ours, tensors are on the device "meta": they take neither time nor memory. An operator's may
    need numbers. Raises ValueError as ``build`` does.
    """
    with torch.device("cpu" if is_installed(network) else "meta"):
        return build(network, classes, options).eval()


def blank(net: Net, height: int, width: int) -> Tensor:
    """A photo for the passes in which sizes alone count, on the network's device: (1, 3, height, width)."""
    return torch.zeros(1, 3, height, width, device=next(iter(net.state_dict().values())).device)
