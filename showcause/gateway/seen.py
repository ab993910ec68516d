"""What is found out about a request on its way, for the metrics and the log. Imports no torch."""

import logging
import math
import time
from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect

from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.errors import ShowcauseError
from showcause.wire import STAGES

log = logging.getLogger("showcause.requests")

SAME_MOMENT_SECONDS = 0.1
OURS = ("INTERNAL", "UNAVAILABLE")  # codes of errors that are not the caller's


@dataclass
class Seen:
    """One request; "", 0 or nothing for what is not known of it. No photo, no prediction, and no token is kept here.

    protocol: grpc, rest or stream. deadline: seconds since the epoch. peer: their address. caller: the name of their
    token. methods: that are computed for it. upload_seconds: from its head to its last byte; queue_seconds: waiting for
    its turn in the gateway; engine_seconds: what the engine took for it, waiting there included, of which stage_seconds
    (decode, forward, explain, render) are a worker's; total_seconds: since it has arrived. expected_cost, actual_cost:
    seconds of a worker, before and after. residuals: by method. first_of_batch: whether it stands for its batch where
    batches are counted.
    """

    operation: str
    protocol: str
    request_id: str
    deadline: float = math.inf
    peer: str = ""
    caller: str = ""
    model: str = ""
    version: str = ""
    methods: tuple[str, ...] = ()
    code: str = "OK"
    reason: str = ""
    receipt_sha256: str = ""
    batch_size: int = 0
    first_of_batch: bool = False
    request_bytes: int = 0
    response_bytes: int = 0
    began: float = field(default_factory=time.perf_counter)
    upload_seconds: float = 0.0
    queue_seconds: float = 0.0
    engine_seconds: float = 0.0
    total_seconds: float = 0.0
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    expected_cost: float = 0.0
    actual_cost: float = 0.0
    method_seconds: Mapping[str, float] = field(default_factory=dict)
    residuals: Mapping[str, float] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The one method of the request, "several", or "" for none."""
        return "several" if len(self.methods) > 1 else "".join(self.methods)

    @property
    def stages(self) -> dict[str, float]:
        """Where the time went, in seconds; "engine" is what it took beside a worker's stages."""
        before = {"upload": self.upload_seconds, "queue": self.queue_seconds}
        if not self.stage_seconds:  # it never got there
            return {name: seconds for name, seconds in before.items() if seconds}
        worker = {stage: self.stage_seconds.get(stage, 0.0) for stage in STAGES}
        return {**before, "engine": max(0.0, self.engine_seconds - sum(worker.values())), **worker}

    def arrived(self) -> None:
        """All of it is there: what comes before is the caller's time."""
        self.upload_seconds, self.began = time.perf_counter() - self.began, time.perf_counter()

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Adds what is done inside to ``queue_seconds`` or ``engine_seconds``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - began)

    def learn(self, envelope: Envelope) -> None:
        """What the worker says of it."""
        self.batch_size, self.first_of_batch = envelope.batch_size, envelope.first_of_batch
        self.stage_seconds, self.residuals = dict(envelope.stage_seconds), dict(envelope.residuals)
        self.receipt_sha256 = envelope.receipt_sha256
        self.method_seconds = {
            name: envelope.cost_seconds[name] for name in self.methods if name in envelope.cost_seconds
        }

    def fields(self) -> dict[str, Any]:
        """What the log says of it."""
        seconds = {**self.stages, "total": self.total_seconds}
        return {
            "request_id": self.request_id,
            "protocol": self.protocol,
            "operation": self.operation,
            "model": self.model,
            "version": self.version,
            "methods": list(self.methods),
            "code": self.code,
            "reason": self.reason,
            "peer": self.peer,
            "caller": self.caller,
            "receipt_sha256": self.receipt_sha256,
            "batch_size": self.batch_size,
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "seconds": {name: round(value, 6) for name, value in seconds.items()},
        }


@contextmanager
def watched(seen: Seen) -> Iterator[Seen]:
    """Finds out what becomes of a request, and writes its line in the log."""
    try:
        yield seen
    except ShowcauseError as error:
        seen.code, seen.reason = error.code_name, error.reason
        raise
    except BaseException as error:
        if not isinstance(error, CancelledError | ClientDisconnect | GeneratorExit):
            seen.code = "INTERNAL"
        elif time.time() > seen.deadline - SAME_MOMENT_SECONDS:
            # The caller's clock and ours run out together; where gRPC is the first, it cancels.
            seen.code = seen.reason = "DEADLINE_EXCEEDED"
        else:
            seen.code = "CANCELLED"
        raise
    finally:
        seen.total_seconds = time.perf_counter() - seen.began
        level = logging.WARNING if seen.code in OURS else logging.INFO
        name = f"{seen.operation} {seen.model}".rstrip()
        log.log(level, "%s: %s", name, seen.reason or seen.code, extra={"fields": seen.fields()})
