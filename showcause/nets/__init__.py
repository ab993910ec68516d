"""The networks that can be served: builders by name, as ``network`` in a model.toml names them.

A builder takes the number of classes and the table ``network_options`` of the model.toml; each row of the table here
is a family's builder with the options that make it that network.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from showcause.nets.base import name_layers
from showcause.nets.bcos import BcosNet
from showcause.nets.bcos_densenet import BcosDenseNet
from showcause.nets.bcos_inception import BcosInception
from showcause.nets.bcos_plain import cifar9
from showcause.nets.bcos_resnet import BcosResNet
from showcause.nets.bcos_vgg import BcosVgg

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

NETS: dict[str, Callable[..., BcosNet]] = {
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


def build(network: str, classes: int, options: dict[str, Any]) -> BcosNet:
    """An untrained network; raises ValueError naming the network or option that is wrong."""
    if network not in NETS:
        raise ValueError(f"network is {network!r}; allowed: {', '.join(NETS)}")
    try:
        net = NETS[network](classes, **options)
    except (TypeError, RuntimeError, ArithmeticError) as error:  # what torch and arithmetic make of wrong options
        raise ValueError(f"network_options of {network}: {error}") from error
    name_layers(net)
    return net
