"""The metrics over HTTP, for Prometheus. With tokens, only for those that may read them. Imports no torch."""

import uuid

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from showcause.errors import ShowcauseError
from showcause.gateway.access import Access
from showcause.gateway.rest import problem


def make_app(registry: CollectorRegistry, access: Access) -> Starlette:
    """The ASGI application: ``GET /metrics``, and nothing else."""

    async def metrics(request: Request) -> Response:
        try:
            access.admit(request.headers.get("authorization")).check_metrics()
        except ShowcauseError as error:
            return problem(error, uuid.uuid4().hex)
        write, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(write(registry), headers={"content-type": media_type})

    return Starlette(routes=[Route("/metrics", metrics)])
