"""The client: predictions and reasons as plain data. Installs and runs without torch."""

from showcause.client.aio import AsyncClient
from showcause.client.sync import Client

__all__ = ["AsyncClient", "Client"]
