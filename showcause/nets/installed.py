"""Bring your own network: a builder that the operator has installed, named ``python:PACKAGE.MODULE:BUILDER``.

``BUILDER(classes, **network_options)`` returns a torch.nn.Module that maps normalised photos (N, 3, H, W) to logits
(N, classes). Naming code means running it: only a model.toml names it, or the command line, and both are the
operator's; nothing that comes in a request does.
"""

import importlib
import sys
from collections.abc import Callable

from torch import nn

from showcause.manifest import INSTALLED


def is_installed(network: str) -> bool:
    """Whether a network's name says that the operator brings it."""
    return network.startswith("python:")


def installed(network: str) -> Callable[..., nn.Module]:
    """The builder; raises ValueError naming the network where there is none, and when the builder raises."""
    match = INSTALLED.fullmatch(network)
    if match is None:
        raise ValueError(f"network is {network!r}; allowed: python:PACKAGE.MODULE:BUILDER")
    module, name = match.groups()
    try:
        builder = getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise ValueError(f"network is {network!r}: {error}; allowed: a function of {module}") from error
    except Exception as error:  # a module that is imported may raise anything
        raise ValueError(
            f"network is {network!r}: {module} cannot be imported by {sys.executable}: {_said(error)}"
        ) from error

    def build(classes: int, **options: object) -> nn.Module:
        try:
            found = builder(classes, **options)
        except Exception as error:  # so may a builder
            raise ValueError(f"network is {network!r}: {name}({classes}, **{options}) raised {_said(error)}") from error
        if not isinstance(found, nn.Module):
            raise ValueError(
                f"network is {network!r}: {name} returned a {type(found).__name__}; allowed: a torch.nn.Module"
            )
        return found

    return build


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
