"""What the service does, whatever the protocol: gRPC and REST both call this. Imports no torch.

Requests and responses are serialised messages: a good response goes from the engine to the wire unread, with the
request id and the total time appended (concatenated protobuf messages merge).
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from showcause.channels import channel_importance
from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ShowcauseError,
    Unavailable,
    internal,
    out_of_range,
)
from showcause.gateway.access import EVERYONE, Identity
from showcause.gateway.costs import added_up
from showcause.gateway.deployments import Deployment, Deployments
from showcause.gateway.engine_client import Engine, WorkerDied
from showcause.gateway.metrics import Metrics
from showcause.gateway.seen import Seen, watched
from showcause.image import Limits, too_many_bytes
from showcause.request import check_methods
from showcause.v1 import model_pb2, service_pb2
from showcause.wire import PASS, opened, parsed
from showcause.wire_tables import KIND_NUMBERS, PREPROCESSING_NUMBERS, PROBABILITY_KIND_NUMBERS

log = logging.getLogger(__name__)

Request = service_pb2.ExplainRequest | service_pb2.PredictRequest
REQUESTS = {"explain": service_pb2.ExplainRequest, "predict": service_pb2.PredictRequest}
DEFAULT_PAGE, MOST_PAGE = 100, 1000
MOST_OTHER_BYTES = 64 * 1024  # of a request, beside its photo or tensor
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # what of a caller's id may go into logs and headers


@dataclass(frozen=True)
class Caller:
    """request_id: theirs, or made here. deadline: seconds since the epoch.

    protocol: grpc, rest, or stream for a photo of one. peer: their address. identity: who asks.
    """

    request_id: str
    deadline: float
    protocol: str = "grpc"
    peer: str = ""
    identity: Identity = EVERYONE

    @property
    def streamed(self) -> bool:
        """Whether the request was accepted when it was read, and waits where others are refused."""
        return self.protocol == "stream"


class Service:
    """ready: whether the engine answers; draining: whether new requests are refused; both set by the server.

    in_flight, streams: how many there are now. freed: is called when a request's memory was freed.
    """

    freed: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        deployments: Deployments,
        engine: Engine,
        metrics: Metrics,
        limits: Limits = Limits(),
        timeout_seconds: float = 60.0,
    ):
        self.deployments, self.engine, self.metrics = deployments, engine, metrics
        self.limits, self.timeout_seconds = limits, timeout_seconds
        self.ready, self.draining, self.in_flight, self.streams = False, asyncio.Event(), 0, 0

    def caller(
        self, request_id: str | None, seconds_left: float | None, protocol: str = "grpc", peer: str = ""
    ) -> Caller:
        """Who asks, and until when they wait; never longer than the service's own time-out."""
        usable = request_id if request_id and REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex
        seconds = self.timeout_seconds if seconds_left is None else min(seconds_left, self.timeout_seconds)
        return Caller(usable, time.time() + seconds, protocol, peer)

    @contextmanager
    def watch(self, operation: str, caller: Caller) -> Iterator[Seen]:
        """Counts one request and writes its line in the log, whatever becomes of it."""
        seen = Seen(operation, caller.protocol, caller.request_id, caller.deadline, caller.peer, caller.identity.name)
        self.in_flight += 1
        try:
            with self.metrics.in_flight.labels(operation).track_inprogress(), watched(seen):
                yield seen
        finally:
            self.in_flight -= 1
            self.freed()
            self.metrics.record(seen)

    def check_room(self, model: str, version: str, caller: Caller, seen: Seen) -> None:
        """What can be refused before a photo is read: a model that is not there, or has a full queue."""
        deployment = self.deployments.find(model, version, caller.identity)
        seen.model = deployment.manifest.name
        if version or len(self.deployments.versions(model)) == 1:  # else the body may name another one
            deployment.admission.check_room(deployment.workers)

    async def answer(self, operation: str, sent: bytes | Request, caller: Caller) -> bytes:
        """``explain`` or ``predict``: a request, serialised or not -> a serialised response; raises ShowcauseError."""
        with self.watch(operation, caller) as seen:
            return await self.answer_seen(operation, sent, caller, seen)

    async def answer_seen(self, operation: str, sent: bytes | Request, caller: Caller, seen: Seen) -> bytes:
        """The same for who watches the request already, since before it was read."""
        began = time.perf_counter()
        data = sent if isinstance(sent, bytes) else sent.SerializeToString()
        seen.request_bytes = len(data)
        if self.draining.is_set() and not caller.streamed:
            raise self.stopping()
        request: Any = parsed(REQUESTS[operation], sent) if isinstance(sent, bytes) else sent
        deployment = self.deployments.find(request.model, request.version, caller.identity)
        manifest = deployment.manifest
        seen.model, seen.version = manifest.name, manifest.version
        self._check_bytes(request, len(data))
        if isinstance(request, service_pb2.ExplainRequest):
            # The worker checks this too, but knows no other model.
            others = [other.manifest for other in self.deployments if caller.identity.may(other.manifest.name)]
            check_methods(request.methods, manifest, others)
            asked = tuple(method.WhichOneof("method") or "" for method in request.methods)
            seen.methods = asked or tuple(manifest.methods[:1])
        expected = seen.expected_cost = deployment.costs.expected(request, manifest.methods[:1])
        if not caller.streamed:
            deployment.admission.check_room(deployment.workers)
            _check_in_time(deployment, expected, caller)
        try:
            # Photos of streams that wait hold no call up: the two take turns.
            with deployment.admission.counted(0.0 if caller.streamed else expected):
                envelope = await self._ask(deployment, operation, data, caller, seen)
            seen.learn(envelope)
            if spent := envelope.cost_seconds:
                deployment.costs.learn(spent)
                seen.actual_cost = added_up(request, manifest.methods[:1], lambda step: dict(spent).get(step, 0.0))
            response = opened(envelope)
        except ShowcauseError:
            raise
        except Exception:
            log.exception("request %s failed", caller.request_id)
            raise internal(caller.request_id) from None
        total = model_pb2.Timings(total_seconds=time.perf_counter() - began)
        # The fields of both responses have the same numbers.
        response += service_pb2.PredictResponse(timings=total, request_id=caller.request_id).SerializeToString()
        seen.response_bytes = len(response)
        return response

    async def _ask(self, deployment: Deployment, operation: str, data: bytes, caller: Caller, seen: Seen) -> Envelope:
        """The engine's answer. What was in hand when a worker died is asked once more, then alone: the request may have
        been what killed it.
        """
        died, admission = False, deployment.admission
        # A photo of a stream adds to the backlog only while the engine has it.
        expected = seen.expected_cost if caller.streamed else 0.0
        while True:
            async with AsyncExitStack() as stack:
                with seen.timing("queue_seconds"):
                    turn = admission.turn(caller.deadline, streamed=caller.streamed, alone=died)
                    await stack.enter_async_context(turn)
                try:
                    with seen.timing("engine_seconds"), admission.counted(expected):
                        sealed = await self.engine.answer(
                            deployment.key, operation, data, caller.deadline, caller.request_id, admission.keep
                        )
                    return Envelope.FromString(sealed)
                except WorkerDied as error:
                    log.warning("request %s: a worker died: %s", caller.request_id, error)
                    if died:
                        raise _given_up(caller.request_id) from None
                    died = True
                    self.metrics.repeated.labels(deployment.manifest.name).inc()

    def stopping(self) -> Unavailable:
        """What callers are told while the service drains."""
        return Unavailable("ENGINE_UNAVAILABLE", "the service is stopping; try another replica")

    def _check_bytes(self, request: Request, size: int) -> None:
        """Limits on the photo, and on everything else, before anything is done with either."""
        photo = len(request.input.image)
        if photo > self.limits.image_bytes:
            raise too_many_bytes(photo, self.limits)
        rest = size - photo - len(request.input.tensor.data)
        if rest > MOST_OTHER_BYTES:
            raise InvalidArgument(
                "INPUT_TOO_LARGE",
                "the request is too large, its photo not counted",
                field="request",
                value=f"{rest} bytes",
                allowed=f"at most {MOST_OTHER_BYTES} bytes",
            )

    def list_models(self, data: bytes, identity: Identity = EVERYONE) -> service_pb2.ListModelsResponse:
        """A page of the served models, by name; the token is the name of the page's first model."""
        request = parsed(service_pb2.ListModelsRequest, data)
        if request.page_size < 0:
            raise out_of_range("page_size", request.page_size, "1 or more, or 0 for the default")
        names = self.deployments.names(identity)
        if request.page_token and request.page_token not in names:
            raise out_of_range("page_token", request.page_token, "next_page_token of an earlier page")
        start = names.index(request.page_token) if request.page_token else 0
        end = start + min(request.page_size or DEFAULT_PAGE, MOST_PAGE)
        return service_pb2.ListModelsResponse(
            models=[self._model_message(self.deployments.default(name), card=False) for name in names[start:end]],
            next_page_token=names[end] if end < len(names) else "",
        )

    def get_model(
        self, data: bytes, identity: Identity = EVERYONE, seen: Seen | None = None
    ) -> service_pb2.GetModelResponse:
        """One model, with its card."""
        request = parsed(service_pb2.GetModelRequest, data)
        deployment = self._found(request, identity, seen)
        return service_pb2.GetModelResponse(model=self._model_message(deployment, card=True))

    def get_channel_importance(
        self, data: bytes, identity: Identity = EVERYONE, seen: Seen | None = None
    ) -> service_pb2.GetChannelImportanceResponse:
        """What CHIP distilled from one model."""
        request = parsed(service_pb2.GetChannelImportanceRequest, data)
        deployment = self._found(request, identity, seen)
        return channel_importance(request, deployment.manifest, deployment.distilled)

    def _found(
        self,
        request: service_pb2.GetModelRequest | service_pb2.GetChannelImportanceRequest,
        identity: Identity,
        seen: Seen | None,
    ) -> Deployment:
        deployment = self.deployments.find(request.model, request.version, identity)
        if seen:
            seen.model, seen.version = deployment.manifest.name, deployment.manifest.version
        return deployment

    def _model_message(self, deployment: Deployment, card: bool) -> model_pb2.Model:
        manifest, costs = deployment.manifest, deployment.costs
        ready = self.ready and deployment.ready
        return model_pb2.Model(
            name=manifest.name,
            version=manifest.version,
            description=manifest.description,
            network=manifest.network,
            labels=manifest.labels,
            probability_kind=PROBABILITY_KIND_NUMBERS[manifest.probability],
            input_width=manifest.input.width,
            input_height=manifest.input.height,
            preprocessing=PREPROCESSING_NUMBERS[manifest.input.preprocessing],
            methods=[
                model_pb2.MethodInfo(name=name, kind=KIND_NUMBERS[manifest.kind_of(name)], cost_seconds=costs.of(name))
                for name in manifest.methods
            ],
            weights_sha256=manifest.weights_sha256,
            card=manifest.card if card else "",
            state=model_pb2.MODEL_STATE_READY if ready else model_pb2.MODEL_STATE_UNAVAILABLE,
            cost_seconds=costs.of(PASS),
            versions=self.deployments.versions(manifest.name),
        )


def _check_in_time(deployment: Deployment, expected: float, caller: Caller) -> None:
    """Raises DeadlineExceeded for a deadline that cannot be met, before anything is done for it."""
    left, before = caller.deadline - time.time(), deployment.admission.backlog_seconds / deployment.workers
    if expected and expected + before > left:
        raise DeadlineExceeded(
            "DEADLINE_TOO_SHORT",
            f"the answer would take about {expected + before:.2g} s ({before:.2g} s for what came before), "
            f"and the deadline leaves {max(left, 0):.2g} s",
        )


def _given_up(request_id: str) -> Internal:
    return Internal(
        "WORKER_DIED",
        f"workers died of this request twice, and it is not tried again; request id {request_id} finds it in the log",
    )
