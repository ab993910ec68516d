"""What the service tells Prometheus. One object and one registry a service; nothing global."""

import time
from asyncio import CancelledError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import ClientDisconnect

from showcause.errors import ShowcauseError
from showcause.gateway.deployments import Deployment
from showcause.wire import PASS

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The series; every name begins with showcause_ and carries its unit."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        names = ("model", "operation")
        self.requests = Counter("showcause_requests", "Requests by their outcome", (*names, "code"), registry=registry)
        self.in_flight = Gauge(
            "showcause_in_flight_requests", "Requests being answered", ("operation",), registry=registry
        )
        self.latency = Histogram(
            "showcause_request_latency_seconds", "Arrival to departure", names, buckets=BUCKETS, registry=registry
        )
        self.request_bytes = Counter("showcause_request_bytes", "Bytes of requests", names, registry=registry)
        self.response_bytes = Counter("showcause_response_bytes", "Bytes of responses", names, registry=registry)
        self.repeated = Counter(
            "showcause_repeated_requests", "Requests asked again after a worker died", ("model",), registry=registry
        )
        self.build = Info("showcause_build", "Version of the service", registry=registry)

    def watch_deployments(self, deployments: Iterable[Deployment]) -> None:
        """Tells of them what is true when it is asked for."""
        self.registry.register(_OfDeployments(deployments))

    @contextmanager
    def watch(self, operation: str) -> Iterator["Seen"]:
        """Counts one request, whatever becomes of it, under the model that is known by then ("" if none)."""
        began, code, seen = time.perf_counter(), "OK", Seen()
        try:
            with self.in_flight.labels(operation).track_inprogress():
                yield seen
        except ShowcauseError as error:
            code = error.code_name
            raise
        except BaseException as error:
            code = "CANCELLED" if isinstance(error, CancelledError | ClientDisconnect) else "INTERNAL"
            raise
        finally:
            self.requests.labels(seen.model, operation, code).inc()
            self.latency.labels(seen.model, operation).observe(time.perf_counter() - began)
            self.request_bytes.labels(seen.model, operation).inc(seen.request_bytes)
            self.response_bytes.labels(seen.model, operation).inc(seen.response_bytes)


class _OfDeployments(Collector):
    def __init__(self, deployments: Iterable[Deployment]):
        self.deployments = deployments

    def collect(self) -> Iterator[GaugeMetricFamily]:
        names = ("model", "version")
        waiting = GaugeMetricFamily("showcause_waiting_requests", "Requests that wait for their turn", labels=names)
        engine = GaugeMetricFamily("showcause_engine_requests", "Requests that the engine has", labels=names)
        cost = GaugeMetricFamily(
            "showcause_cost_seconds",
            "What a photo's pass, or one target by a method, takes a worker; the median of the last",
            labels=(*names, "step"),
        )
        for each in self.deployments:
            labels = (each.manifest.name, each.manifest.version)
            waiting.add_metric(labels, each.admission.waiting)
            engine.add_metric(labels, each.admission.running)
            for step in (PASS, *each.manifest.methods):
                if seconds := each.costs.of(step):
                    cost.add_metric((*labels, step), seconds)
        yield from (waiting, engine, cost)


@dataclass
class Seen:
    """What is found out about a request on its way."""

    model: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
