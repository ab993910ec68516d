"""What goes wrong beside the callers: workers and JVMs that are killed, models that are reloaded."""

import asyncio
import math
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from showcause.admin.v1 import admin_pb2
from tests.processes import roles

LOAD_MODEL = f"/{admin_pb2.DESCRIPTOR.services_by_name['AdminService'].full_name}/LoadModel"
RELOAD_SECONDS = 120


@dataclass(frozen=True)
class Fault:
    """at: seconds by ``time.monotonic``. seconds: how long it took, where it takes time."""

    at: float
    what: str
    seconds: float = 0.0


@dataclass
class Faults:
    """Does them to one service and remembers when. gateway: its process id. admin: address of its admin service."""

    gateway: int
    admin: str
    rng: random.Random
    done: list[Fault] = field(default_factory=list)

    def of(self, what: str) -> list[Fault]:
        return [fault for fault in self.done if fault.what.startswith(what)]

    def processes(self, role: str) -> list[int]:
        return sorted(pid for pid, found in roles(self.gateway).items() if found == role)

    async def kill_worker(self) -> None:
        """Any one of them, without warning."""
        if workers := await asyncio.to_thread(self.processes, "worker"):
            self._kill(self.rng.choice(workers), "worker killed")

    async def kill_jvm(self) -> None:
        for pid in await asyncio.to_thread(self.processes, "jvm"):
            self._kill(pid, "JVM killed")

    async def reload(self, name: str) -> None:
        """Has a model's folder read anew while it serves; what the service says is remembered, an error as such."""
        began = time.monotonic()
        try:
            await reload(self.admin, name)
            what = f"reloaded {name}"
        except grpc.aio.AioRpcError as error:
            what = f"reload failed: {name}: {error.code().name}: {error.details()}"
        self.done.append(Fault(began, what, time.monotonic() - began))

    def _kill(self, pid: int, what: str) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.done.append(Fault(time.monotonic(), what))


async def reload(admin: str, name: str) -> None:
    """``showcause models load NAME``, over the admin service; raises AioRpcError."""
    async with grpc.aio.insecure_channel(admin, options=[("grpc.enable_http_proxy", 0)]) as channel:
        request = admin_pb2.LoadModelRequest(folder=name).SerializeToString()
        await channel.unary_unary(LOAD_MODEL)(request, timeout=RELOAD_SECONDS)


async def every(seconds: float, act: Callable[[], Awaitable[None]], most_seconds: float = math.inf) -> None:
    """``act`` again and again, until cancelled or the time has passed; the first time after ``seconds``. What has begun
    is finished."""
    began = due = time.monotonic()
    while (due := due + seconds) <= began + most_seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        acting = asyncio.ensure_future(act())
        try:
            await asyncio.shield(acting)
        except asyncio.CancelledError:
            await acting
            raise
