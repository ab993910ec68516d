"""``showcause serve``: the engine as a child, gRPC, REST and metrics in this process; started and drained together."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from typing import Any

from showcause.engine.torchserve import EngineFailed, TorchServe
from showcause.freed_memory import FreedMemory
from showcause.gateway import metrics_app, rest, rpc
from showcause.gateway.admin import HOST as ADMIN_HOST
from showcause.gateway.admin import make_admin_server
from showcause.gateway.deployments import Deployments, version_order
from showcause.gateway.engine_client import TorchServeClient
from showcause.gateway.http_server import HttpServer
from showcause.gateway.lifecycle import Lifecycle
from showcause.gateway.metrics import Metrics
from showcause.gateway.service import Service
from showcause.gateway.settings import Settings
from showcause.gateway.supervisor import Supervisor
from showcause.manifest import Manifest, ManifestError
from showcause.store import entries as model_entries

log = logging.getLogger("showcause.serve")

LAST_WORDS_SECONDS = 1.0  # for replies that are still on their way out


def chosen_models(settings: Settings, say: Callable[[str], None]) -> list[Manifest]:
    """The manifests to serve, the newest version of each model first. A broken folder is refused with its reason, and
    the others are served. Raises ManifestError for an unknown name, or where nothing is left.
    """
    store = settings.model_store
    entries = [entry for entry in model_entries(store) if (entry.folder / "model.toml").exists()]
    if not entries:
        raise ManifestError(f"{store} holds no model: a model is a folder with a model.toml")
    names = sorted({entry.name for entry in entries})
    for name in settings.names:
        if name not in names:
            raise ManifestError(f"{store} has no model {name!r}; it has {', '.join(names)}")
    chosen = []
    for entry in entries:
        if settings.names and entry.name not in settings.names:
            continue
        if problem := entry.problem or entry.problem_of_weights():
            say(f"refused {entry.folder.name}: {problem}")
        elif entry.manifest:
            chosen.append(entry.manifest)
    if not chosen:
        raise ManifestError(f"{store}: nothing is left to be served")
    return sorted(chosen, key=lambda manifest: version_order(manifest.version), reverse=True)


def serve(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Runs until SIGTERM or SIGINT, then drains; raises EngineFailed or ManifestError, with nothing left behind."""
    manifests = chosen_models(settings, say)
    if lacking := settings.exposure():
        log.warning(lacking)
    say(f"starting TorchServe with {', '.join(sorted({manifest.name for manifest in manifests}))}")
    engine = TorchServe(manifests, settings.workers, settings.gpus, settings.limits)
    # SIGTERM during the start must not leave a JVM behind.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        engine.start()
        for key, reason in engine.wait_until_ready(say=say).items():
            say(f"refused {engine.deployed[key].folder.name}: {reason}")
            engine.unload(key)
        if not engine.deployed:
            raise EngineFailed("no model could be loaded")
        asyncio.run(_serve(settings, engine, say))
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


async def _serve(settings: Settings, engine: TorchServe, say: Callable[[str], None]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    deployments = Deployments(settings.workers, settings.queue_size)
    for key, manifest in engine.deployed.items():
        deployments.put(manifest, key)
    client = TorchServeClient(engine.gone, engine.shape)
    client.connect(engine.target, engine.token)
    service = Service(deployments, client, Metrics(), settings.limits, settings.timeout_seconds)
    service.freed = FreedMemory().used  # replies are large, and each is copied a few times on its way
    health = rpc.Health(deployments.names())
    changing = asyncio.Lock()
    supervisor = Supervisor(engine, client, service, health, changing, say)
    grpc_server, grpc_port = rpc.make_server(service, health, settings)
    lifecycle = Lifecycle(engine, deployments, settings.model_store, changing)
    admin_server, admin_port = make_admin_server(service, lifecycle, settings.admin_port)
    rest_server = HttpServer(rest.make_app(service, settings), settings.rest_port, settings)
    metrics_server = HttpServer(
        metrics_app.make_app(service, settings.access, engine.metrics_text), settings.metrics_port, settings
    )
    beside = [admin_server]  # gRPC servers that have nothing to drain
    if settings.health_port is not None:
        health_server, health_port = rpc.make_health_server(health, settings)
        beside.append(health_server)
        say(f"health for probes, in plain text, on {settings.host}:{health_port}")
    try:
        await health.begin()
        for server in (grpc_server, *beside):
            await server.start()
        await rest_server.start()
        await metrics_server.start()
        engine.echo = True
        await supervisor.look()
        say(
            f"serving gRPC on {settings.host}:{grpc_port}, REST on {rest_server.url}, "
            f"metrics on {metrics_server.url}/metrics, admin on {ADMIN_HOST}:{admin_port}"
        )
        watching = asyncio.create_task(supervisor.run())
        await _first({watching, asyncio.create_task(stopping.wait())})
        service.draining.set()
        await supervisor.tell({})  # not ready from now on, whatever TorchServe says
        # Clients are told at once to go elsewhere with what is new; what they have here goes on.
        leaving = asyncio.create_task(grpc_server.stop(settings.grace_seconds + LAST_WORDS_SECONDS))
        if not watching.done():
            say(f"draining: {settings.grace_seconds:g} s at most for what was accepted")
            await _first({watching, asyncio.create_task(_until_idle(service, settings.grace_seconds))})
        # By now only health watches can be open: they would hold the server for the whole grace period.
        await asyncio.gather(grpc_server.stop(LAST_WORDS_SECONDS), leaving, rest_server.stop())
        for server in beside:
            await server.stop(LAST_WORDS_SECONDS)
        if watching.done():
            watching.result()  # raises what ended it
        watching.cancel()
    finally:
        engine.stopping.set()
        await metrics_server.stop()
        await client.close()


async def _first(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _until_idle(service: Service, most_seconds: float) -> None:
    """Waits for the requests that were accepted, and for streams to write their last answers."""
    deadline = time.monotonic() + most_seconds
    while (service.in_flight or service.streams) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
