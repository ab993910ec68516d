"""What the service does, whatever the protocol: gRPC and REST both call this. Imports no torch.

Requests and responses are serialised messages: a good response goes from the engine to the wire unread, with the
request id and the total time appended (concatenated protobuf messages merge).
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from showcause.channels import channel_importance, read_distilled
from showcause.errors import (
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ShowcauseError,
    Unavailable,
    internal,
    out_of_range,
)
from showcause.gateway.engine_client import Engine
from showcause.gateway.metrics import Metrics, Seen
from showcause.image import Limits, too_many_bytes
from showcause.manifest import Manifest
from showcause.request import check_methods
from showcause.v1 import model_pb2, service_pb2
from showcause.wire import parsed, unseal
from showcause.wire_tables import KIND_NUMBERS, PREPROCESSING_NUMBERS, PROBABILITY_KIND_NUMBERS

log = logging.getLogger(__name__)

Request = service_pb2.ExplainRequest | service_pb2.PredictRequest
REQUESTS = {"explain": service_pb2.ExplainRequest, "predict": service_pb2.PredictRequest}
DEFAULT_PAGE, MOST_PAGE = 100, 1000
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0  # before a photo of a stream is tried again
MOST_OTHER_BYTES = 64 * 1024  # of a request, beside its photo or tensor
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # what of a caller's id may go into logs and headers


@dataclass(frozen=True)
class Caller:
    """request_id: theirs, or made here. deadline: seconds since the epoch.

    streamed: the request is a photo of a stream, which was accepted when it was read, and waits where others are
    refused.
    """

    request_id: str
    deadline: float
    streamed: bool = False


class Service:
    """Raises ManifestError where what was distilled cannot be read.

    ready: whether the engine answers; draining: whether new requests are refused; both set by the server.

    in_flight, streams: how many there are now.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        engine: Engine,
        metrics: Metrics,
        limits: Limits = Limits(),
        timeout_seconds: float = 60.0,
    ):
        self.manifests = {manifest.name: manifest for manifest in manifests}
        # Once, as the workers do: a file that is replaced counts from the next start on.
        self._distilled = {manifest.name: read_distilled(manifest) for manifest in manifests}
        self.engine, self.metrics, self.limits, self.timeout_seconds = engine, metrics, limits, timeout_seconds
        self.ready, self.draining, self.in_flight, self.streams = False, asyncio.Event(), 0, 0

    def caller(self, request_id: str | None, seconds_left: float | None) -> Caller:
        """Who asks, and until when they wait; never longer than the service's own time-out."""
        usable = request_id if request_id and REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex
        seconds = self.timeout_seconds if seconds_left is None else min(seconds_left, self.timeout_seconds)
        return Caller(usable, time.time() + seconds)

    async def answer(self, operation: str, sent: bytes | Request, caller: Caller) -> bytes:
        """``explain`` or ``predict``: a request, serialised or not -> a serialised response; raises ShowcauseError."""
        self.in_flight += 1
        try:
            with self.metrics.watch(operation) as seen:
                return await self.answer_seen(operation, sent, caller, seen)
        finally:
            self.in_flight -= 1

    async def answer_seen(self, operation: str, sent: bytes | Request, caller: Caller, seen: Seen) -> bytes:
        """The same for who counts the request already, from before it was read until its reply is sent."""
        began = time.perf_counter()
        data = sent if isinstance(sent, bytes) else sent.SerializeToString()
        seen.request_bytes = len(data)
        if self.draining.is_set() and not caller.streamed:
            raise self.stopping()
        request: Any = parsed(REQUESTS[operation], sent) if isinstance(sent, bytes) else sent
        manifest = self.manifest(request.model, request.version)
        seen.model = manifest.name
        self._check_bytes(request, len(data))
        if isinstance(request, service_pb2.ExplainRequest):
            # The worker checks this too, but knows no other model.
            check_methods(request.methods, manifest, self.manifests.values())
        try:
            response = unseal(await self._ask(manifest.name, operation, data, caller))
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

    async def _ask(self, model: str, operation: str, data: bytes, caller: Caller) -> bytes:
        """The engine's envelope. A photo of a stream meets a full queue with patience, and a worker that died once."""
        pause, died = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                return await self.engine.answer(model, operation, data, caller.deadline, caller.request_id)
            except (ResourceExhausted, Unavailable) as error:
                again = isinstance(error, ResourceExhausted) or not died
                if not (caller.streamed and again) or time.time() + pause > caller.deadline:
                    raise
                died = died or isinstance(error, Unavailable)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

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

    def list_models(self, data: bytes) -> service_pb2.ListModelsResponse:
        """A page of the served models, by name; the token is the name of the page's first model."""
        request = parsed(service_pb2.ListModelsRequest, data)
        if request.page_size < 0:
            raise out_of_range("page_size", request.page_size, "1 or more, or 0 for the default")
        names = sorted(self.manifests)
        if request.page_token and request.page_token not in names:
            raise out_of_range("page_token", request.page_token, "next_page_token of an earlier page")
        start = names.index(request.page_token) if request.page_token else 0
        end = start + min(request.page_size or DEFAULT_PAGE, MOST_PAGE)
        return service_pb2.ListModelsResponse(
            models=[self._model_message(self.manifests[name], card=False) for name in names[start:end]],
            next_page_token=names[end] if end < len(names) else "",
        )

    def get_model(self, data: bytes) -> service_pb2.GetModelResponse:
        """One model, with its card."""
        request = parsed(service_pb2.GetModelRequest, data)
        manifest = self.manifest(request.model, request.version)
        return service_pb2.GetModelResponse(model=self._model_message(manifest, card=True))

    def get_channel_importance(self, data: bytes) -> service_pb2.GetChannelImportanceResponse:
        """What CHIP distilled from one model."""
        request = parsed(service_pb2.GetChannelImportanceRequest, data)
        manifest = self.manifest(request.model, request.version)
        return channel_importance(request, manifest, self._distilled[manifest.name])

    def manifest(self, name: str, version: str) -> Manifest:
        """The model that a request means; raises NotFound, or InvalidArgument where a name is needed."""
        allowed = ", ".join(sorted(self.manifests))
        if not name:
            if len(self.manifests) == 1:
                (only,) = self.manifests.values()
                name = only.name
            else:
                raise out_of_range("model", "", allowed)
        manifest = self.manifests.get(name)
        if manifest is None:
            raise NotFound("MODEL_NOT_FOUND", "no such model is served", field="model", value=name, allowed=allowed)
        if version and version != manifest.version:
            raise NotFound(
                "MODEL_NOT_FOUND",
                f"no such version of model {name} is served",
                field="version",
                value=version,
                allowed=manifest.version,
            )
        return manifest

    def _model_message(self, manifest: Manifest, card: bool) -> model_pb2.Model:
        state = model_pb2.MODEL_STATE_READY if self.ready else model_pb2.MODEL_STATE_UNAVAILABLE
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
                model_pb2.MethodInfo(name=name, kind=KIND_NUMBERS[manifest.kind_of(name)]) for name in manifest.methods
            ],
            weights_sha256=manifest.weights_sha256,
            card=manifest.card if card else "",
            state=state,
        )
