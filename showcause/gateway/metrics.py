"""What the service tells Prometheus. One object and one registry a service; nothing global. Imports no torch."""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from showcause import __version__
from showcause.gateway.deployments import Deployment
from showcause.gateway.seen import Seen
from showcause.wire import PASS, PICTURE

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
STAGE_BUCKETS = (0.001, *BUCKETS)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
RATIO_BUCKETS = (0.1, 0.25, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 4, 10)  # of an actual to an estimated cost
RESIDUAL_BUCKETS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1)


class Metrics:
    """The series; every name begins with showcause_ and carries its unit. docs/operations.md explains each."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        named: dict[str, Any] = {"registry": registry}
        names = ("model", "operation")
        self.requests = Counter(
            "showcause_requests", "Requests by what became of them", (*names, "code", "reason"), **named
        )
        self.in_flight = Gauge("showcause_in_flight_requests", "Requests being answered", ("operation",), **named)
        self.open_streams = Gauge("showcause_open_streams", "Streams that are open", **named)
        self.most_streams = Gauge("showcause_open_streams_limit", "Streams that may be open, at most", **named)
        self.latency = Histogram(
            "showcause_request_latency_seconds",
            "From its last byte to its departure, by the request's method, several, or none",
            (*names, "method"),
            buckets=BUCKETS,
            **named,
        )
        self.stages = Histogram(
            "showcause_stage_seconds",
            "Where the time went: upload, queue (the gateway's), engine (its queue, and waiting for neighbours), "
            "decode, forward, explain (of the whole batch), render",
            ("model", "method", "stage"),
            buckets=STAGE_BUCKETS,
            **named,
        )
        self.method_seconds = Histogram(
            "showcause_method_seconds",
            "What one target by one method took a worker, beside the forward pass",
            ("model", "method"),
            buckets=STAGE_BUCKETS,
            **named,
        )
        self.batches = Histogram(
            "showcause_batch_size", "Requests that were computed together", ("model",), buckets=BATCH_BUCKETS, **named
        )
        self.request_bytes = Counter("showcause_request_bytes", "Bytes of requests", names, **named)
        self.response_bytes = Counter("showcause_response_bytes", "Bytes of responses", names, **named)
        self.cost_ratio = Histogram(
            "showcause_cost_ratio",
            "What a request cost a worker, beside what was expected of it",
            ("model",),
            buckets=RATIO_BUCKETS,
            **named,
        )
        self.residuals = Histogram(
            "showcause_residual_ratio",
            "How far a reply's exact explanations are from summing to the score, beside it: the largest of each method",
            ("model", "method"),
            buckets=RESIDUAL_BUCKETS,
            **named,
        )
        self.repeated = Counter(
            "showcause_repeated_requests", "Requests asked again after a worker died", ("model",), **named
        )
        self.worker_restarts = Counter(
            "showcause_worker_restarts", "Workers that took the place of one that died", ("model", "version"), **named
        )
        self.engine_restarts = Counter("showcause_engine_restarts", "Starts of TorchServe after it died", **named)
        self.ready = Gauge("showcause_ready", "Whether every model's default version answers: 1 or 0", **named)
        Info("showcause_build", "Version of the service", **named).info({"version": __version__})

    def record(self, seen: Seen) -> None:
        """Counts one request, whatever became of it, under the model that was found ("" if none)."""
        names = (seen.model, seen.operation)
        self.requests.labels(*names, seen.code, seen.reason).inc()
        self.latency.labels(*names, seen.method).observe(seen.total_seconds)
        self.request_bytes.labels(*names).inc(seen.request_bytes)
        self.response_bytes.labels(*names).inc(seen.response_bytes)
        for stage, seconds in seen.stages.items():
            self.stages.labels(seen.model, seen.method, stage).observe(seconds)
        for method, seconds in seen.method_seconds.items():
            self.method_seconds.labels(seen.model, method).observe(seconds)
        for method, residual in seen.residuals.items():
            self.residuals.labels(seen.model, method).observe(residual)
        if seen.first_of_batch:
            self.batches.labels(seen.model).observe(seen.batch_size)
        if seen.expected_cost and seen.actual_cost:
            self.cost_ratio.labels(seen.model).observe(seen.actual_cost / seen.expected_cost)


def of_deployments(deployments: Iterable[tuple[Deployment, bool]]) -> Iterator[Metric]:
    """What is true of the model versions now; each with whether it is its model's default."""
    names = ("model", "version")
    gauges = {
        "waiting_requests": "Requests that wait for their turn, without photos of streams",
        "queue_limit_requests": "Of those that may wait, at most",
        "waiting_photos": "Photos of streams that wait for their turn",
        "engine_requests": "Requests that the engine has",
        "workers": "Worker processes that answer",
        "wanted_workers": "Worker processes that there should be",
        "model_ready": "Whether all of its workers answer: 1 or 0",
    }
    families = {name: GaugeMetricFamily(f"showcause_{name}", text, labels=names) for name, text in gauges.items()}
    cost = GaugeMetricFamily(
        "showcause_cost_seconds",
        "What a photo's pass, one target by a method, or a picture takes a worker; the median of the last",
        labels=(*names, "step"),
    )
    info = InfoMetricFamily("showcause_model", "The model versions that are served")
    for each, default in deployments:
        manifest, admission = each.manifest, each.admission
        labels = (manifest.name, manifest.version)
        values = (
            admission.waiting - admission.waiting_photos,
            admission.most_waiting,
            admission.waiting_photos,
            admission.running,
            each.answering,
            each.workers,
            each.ready,
        )
        for family, value in zip(families.values(), values, strict=True):
            family.add_metric(labels, float(value))
        for step in (PASS, PICTURE, *manifest.methods):
            if seconds := each.costs.of(step):
                cost.add_metric((*labels, step), seconds)
        known = {
            "network": manifest.network,
            "weights_sha256": manifest.weights_sha256,
            "default": str(default).lower(),
        }
        info.add_metric((), dict(zip(names, labels, strict=True)) | known)
    yield from (*families.values(), cost, info)
