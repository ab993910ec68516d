"""Showcause: model serving that shows cause.

``showcause.Client`` and ``showcause.AsyncClient`` need neither torch nor a server's packages; they are imported when
first used, so that the worker does not pay for them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showcause.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from showcause import client

        return getattr(client, name)
    raise AttributeError(f"module 'showcause' has no attribute {name!r}")
