"""The metrics over HTTP, for Prometheus, TorchServe's own among them. With tokens, only for those that may read them.

Imports no torch.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from showcause.errors import ShowcauseError
from showcause.gateway.access import Access
from showcause.gateway.metrics import of_deployments
from showcause.gateway.rest import problem
from showcause.gateway.service import Service


def make_app(service: Service, access: Access, engine_text: Callable[[], str] = str) -> Starlette:
    """The ASGI application: ``GET /metrics``, and nothing else. engine_text: TorchServe's, "" where it gives none."""

    async def metrics(request: Request) -> Response:
        try:
            access.admit(request.headers.get("authorization")).check_metrics()
        except ShowcauseError as error:
            return problem(error, uuid.uuid4().hex)
        write, media_type = choose_encoder(request.headers.get("accept", ""))
        # What changes on the loop is read on the loop; the text, which takes longer, is made beside it.
        now = list(of_deployments(service.deployments.with_default()))
        body = await asyncio.to_thread(lambda: write(cast(Any, _All(service.metrics.registry, now, engine_text))))
        return Response(body, headers={"content-type": media_type})

    return Starlette(routes=[Route("/metrics", metrics)])


class _All:
    """What prometheus_client's encoders ask of a registry."""

    def __init__(self, registry: CollectorRegistry, now: Iterable[Metric], engine_text: Callable[[], str]):
        self.registry, self.now, self.engine_text = registry, now, engine_text

    def collect(self) -> Iterator[Metric]:
        yield from chain(self.registry.collect(), self.now, of_engine(self.engine_text()))


def of_engine(text: str) -> Iterator[Metric]:
    """TorchServe's series, by their own names; none where the text is not what Prometheus reads.

    Not as counters: they do not all end in _total, which OpenMetrics demands of those.
    """
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError:
        return
    for family in families:
        kind = "unknown" if family.type == "counter" else family.type
        passed = Metric(family.name, family.documentation or "TorchServe's own", kind)
        passed.samples = family.samples
        yield passed
