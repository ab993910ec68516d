"""The networks that can be served: builders by name, as ``network`` in a model.toml names them.

A builder takes the number of classes and the table ``network_options`` of the model.toml.
"""

from collections.abc import Callable
from typing import Any

from showcause.nets.bcos import BcosNet, BcosVgg, bcos_resnet18

NETS: dict[str, Callable[..., BcosNet]] = {
    "bcos_resnet18": bcos_resnet18,
    "bcos_vgg": BcosVgg,
}


def build(network: str, classes: int, options: dict[str, Any]) -> BcosNet:
    """An untrained network; raises ValueError naming the network or option that is wrong."""
    if network not in NETS:
        raise ValueError(f"network is {network!r}; allowed: {', '.join(NETS)}")
    try:
        return NETS[network](classes, **options)
    except TypeError as error:
        raise ValueError(f"network_options of {network}: {error}") from error
