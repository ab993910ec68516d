"""Showcause: model serving that shows cause.

``showcause.Client`` and ``showcause.AsyncClient`` need neither torch nor a server's packages; all names here are
imported when first used, so that the worker does not pay for the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showcause.client import AsyncClient, Client
    from showcause.reply import Difference, Neuron

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Difference", "Neuron"]

_HOMES = {"AsyncClient": "client", "Client": "client", "Difference": "reply", "Neuron": "reply"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"showcause.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'showcause' has no attribute {name!r}")
