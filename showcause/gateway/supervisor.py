"""Keeps the engine alive, and readiness true. Imports no torch."""

import asyncio
import logging
from collections.abc import Callable

from showcause.engine.torchserve import EngineFailed, TorchServe
from showcause.gateway.engine_client import TorchServeClient
from showcause.gateway.rpc import Health
from showcause.gateway.service import Service

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0  # how often the engine and its workers are looked at
LONGEST_PAUSE_SECONDS = 30.0  # between two starts
MOST_FAILED_STARTS = 5  # one after another


class Supervisor:
    """Watches TorchServe; one that died is started anew, with the models that are served, and its workers are ended.

    What was in hand is asked once more, and what comes meanwhile waits: see ``TorchServeClient``.
    """

    def __init__(
        self,
        engine: TorchServe,
        client: TorchServeClient,
        service: Service,
        health: Health,
        changing: asyncio.Lock,
        say: Callable[[str], None],
    ):
        self.engine, self.client, self.service, self.health, self.say = engine, client, service, health, say
        self.changing = changing  # held by whoever changes what TorchServe has: see ``Lifecycle``

    async def run(self) -> None:
        """Until it is cancelled; raises EngineFailed where TorchServe does not come back."""
        while True:
            if reason := self.engine.died():
                await self._revive(reason)
            elif not self.client.connected and await asyncio.to_thread(self.engine.answers):
                self.client.connect(self.engine.target, self.engine.token)
            await self.look()
            await asyncio.sleep(WATCH_SECONDS)

    async def look(self) -> None:
        """Says of each model whether its workers answer; the service is ready when all of them do."""
        for deployment in list(self.service.deployments):
            new = deployment.see_workers(await asyncio.to_thread(self.engine.worker_states, deployment.key))
            name, metrics = deployment.manifest.name, self.service.metrics
            metrics.worker_restarts.labels(name, deployment.manifest.version).inc(new)
            metrics.repeated.labels(name)  # there from the beginning, so that the first counts as an increase
        serving = [self.service.deployments.default(name) for name in self.service.deployments.names()]
        self.health.models.update(dict.fromkeys(self.service.deployments.names()))
        await self.tell({deployment.manifest.name: deployment.ready for deployment in serving})

    async def tell(self, ready: dict[str, bool]) -> None:
        """Of each model, whether it answers; none does while the service stops."""
        stays = not self.service.draining.is_set()
        self.service.ready = stays and all(ready.values())
        self.service.metrics.ready.set(self.service.ready)
        for name in self.health.models:  # those that were unloaded, too
            await self.health.set(stays and ready.get(name, False), name)
        await self.health.set(self.service.ready, *Health.WHOLE)

    async def _revive(self, reason: str) -> None:
        log.error("%s", reason)
        await self.client.disconnect()
        for deployment in self.service.deployments:
            deployment.see_workers({})
        await self.tell(dict.fromkeys(self.service.deployments.names(), False))
        async with self.changing:
            await self._start_anew(reason)

    async def _start_anew(self, reason: str) -> None:
        for failed in range(MOST_FAILED_STARTS):
            if failed:
                await asyncio.sleep(min(2.0 ** (failed - 1), LONGEST_PAUSE_SECONDS))
            self.say("TorchServe died; starting it anew")
            self.service.metrics.engine_restarts.inc()
            try:
                # Not in a thread: the new process ends with the thread that started it.
                self.engine.restart()
                for why in (await asyncio.to_thread(self.engine.wait_until_ready)).values():
                    log.error("%s", why)
            except (EngineFailed, OSError) as error:
                log.error("%s", error)
                continue
            self.client.connect(self.engine.target, self.engine.token)
            self.say("TorchServe is back")
            return
        raise EngineFailed(f"TorchServe died, and {MOST_FAILED_STARTS} starts failed; at first it said: {reason}")
