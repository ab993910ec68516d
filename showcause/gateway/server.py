"""``showcause serve``: the engine as a child, gRPC, REST and metrics in this process; started and drained together."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import start_http_server

from showcause import __version__
from showcause.engine.torchserve import EngineFailed, TorchServe
from showcause.gateway import rest, rpc
from showcause.gateway.engine_client import TorchServeClient
from showcause.gateway.metrics import Metrics
from showcause.gateway.service import Service
from showcause.gateway.settings import Settings
from showcause.manifest import Manifest, ManifestError, read_store

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0  # how often the engine and its workers are looked at
LAST_WORDS_SECONDS = 1.0  # for replies that are still on their way out


def chosen_models(settings: Settings) -> list[Manifest]:
    """The manifests to serve; raises ManifestError for a broken folder or an unknown name."""
    manifests = read_store(settings.model_store)
    names = [manifest.name for manifest in manifests]
    for name in settings.names:
        if name not in names:
            raise ManifestError(f"{settings.model_store} has no model {name!r}; it has {', '.join(names)}")
    return [manifest for manifest in manifests if not settings.names or manifest.name in settings.names]


def serve(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Runs until SIGTERM or SIGINT, then drains; raises EngineFailed or ManifestError, with nothing left behind."""
    manifests = chosen_models(settings)
    say(f"starting TorchServe with {', '.join(manifest.name for manifest in manifests)}")
    engine = TorchServe(manifests, settings.workers, settings.gpus, settings.limits)
    # SIGTERM during the start must not leave a JVM behind.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        engine.start()
        engine.wait_until_ready(say)
        asyncio.run(_serve(settings, manifests, engine, say))
    except KeyboardInterrupt:
        say("stopped while starting")
    finally:
        # A second signal must not interrupt the clean-up.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        engine.stop()
    say("stopped")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


async def _serve(settings: Settings, manifests: list[Manifest], engine: TorchServe, say: Callable[[str], None]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    metrics = Metrics()
    metrics.build.info({"version": __version__})
    client = TorchServeClient(engine.target, engine.token)
    service = Service(manifests, client, metrics, settings.limits, settings.timeout_seconds)
    health = rpc.Health(manifest.name for manifest in manifests)
    grpc_server, grpc_port = rpc.make_server(service, health, settings)
    rest_socket = _listening(settings.host, settings.rest_port)
    rest_port = rest_socket.getsockname()[1]
    rest_server = _Uvicorn(
        uvicorn.Config(
            rest.make_app(service),
            log_level="warning",
            access_log=False,
            lifespan="off",
            loop="asyncio",  # grpc.aio does not share uvloop
            timeout_graceful_shutdown=int(LAST_WORDS_SECONDS),
        )
    )
    with _named(settings.host, settings.metrics_port):
        metrics_server, _ = start_http_server(settings.metrics_port, settings.host, metrics.registry)
    metrics_port = metrics_server.server_address[1]
    try:
        await grpc_server.start()
        rest_task = asyncio.create_task(rest_server.serve(sockets=[rest_socket]))
        while not rest_server.started and not rest_task.done():
            await asyncio.sleep(0.01)
        service.ready = engine.echo = True
        await health.set(True)
        say(
            f"serving gRPC on {settings.host}:{grpc_port}, REST on http://{settings.host}:{rest_port}, "
            f"metrics on http://{settings.host}:{metrics_port}/metrics"
        )
        reason = await _until_stopped(stopping, engine, service, health)
        service.ready = False
        service.draining.set()
        await health.set(False)
        if not reason:
            say(f"draining: {settings.grace_seconds:g} s at most for what was accepted")
            await _until_idle(service, settings.grace_seconds)
        # By now only health watches can be open: they would hold the server for the whole grace period.
        rest_server.should_exit = True
        await grpc_server.stop(LAST_WORDS_SECONDS)
        await rest_task
        if reason:
            raise EngineFailed(reason)
    finally:
        metrics_server.shutdown()
        await client.close()


async def _until_stopped(stopping: asyncio.Event, engine: TorchServe, service: Service, health: rpc.Health) -> str:
    """Waits for a signal (answers "") or for the engine's end (answers why); keeps readiness true meanwhile."""
    while not stopping.is_set():
        if reason := engine.died():
            return reason
        up = {name: await asyncio.to_thread(engine.ready, name) for name in service.manifests}
        for name, answers in up.items():
            await health.set(answers, name)
        service.ready = all(up.values())
        await health.set(service.ready, *rpc.Health.WHOLE)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), WATCH_SECONDS)
    return ""


async def _until_idle(service: Service, most_seconds: float) -> None:
    """Waits for the requests that were accepted, and for streams to write their last answers."""
    deadline = time.monotonic() + most_seconds
    while (service.in_flight or service.streams) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _named(host, port):
        listener.bind((host, port))
    return listener


@contextlib.contextmanager
def _named(host: str, port: int) -> Iterator[None]:
    """An error of the system's, with the address that it means."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error}") from error


class _Uvicorn(uvicorn.Server):
    """uvicorn without signal handlers: they would replace ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
