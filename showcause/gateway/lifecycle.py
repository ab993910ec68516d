"""Models loaded, reloaded and unloaded while the service runs, without a lost request. Imports no torch.

A model that is loaded anew comes up beside the one that serves. Once it answers, requests go to it; the other one ends
when it has answered what it had accepted.
"""

import asyncio
from pathlib import Path

from showcause import store
from showcause.engine.torchserve import EngineFailed, TorchServe
from showcause.errors import FailedPrecondition, NotFound, out_of_range
from showcause.gateway.deployments import Deployment, Deployments
from showcause.manifest import Manifest, ManifestError, read_manifest

LOOK_SECONDS = 0.1


class Lifecycle:
    """folder names are those of the store: no path comes from outside."""

    def __init__(self, engine: TorchServe, deployments: Deployments, model_store: Path, changing: asyncio.Lock):
        self.engine, self.deployments, self.model_store = engine, deployments, model_store
        self._changing = changing  # one at a time, and not while TorchServe is started anew
        self._ending = set[asyncio.Task[None]]()

    async def load(self, folder: str) -> tuple[Deployment, bool]:
        """What serves now, and whether it took the place of the same version; raises FailedPrecondition with the reason
        where the folder cannot be served, and then nothing has changed.
        """
        async with self._changing:
            manifest = await asyncio.to_thread(self._read, folder)
            key = ""
            try:
                key = await asyncio.to_thread(self.engine.load, manifest)
                if failed := await asyncio.to_thread(self.engine.wait_until_ready, [key]):
                    raise EngineFailed(failed[key])
                replaced = self.deployments.put(manifest, key)
            except (EngineFailed, ManifestError, OSError) as error:
                if key:
                    await asyncio.to_thread(self.engine.unload, key)
                raise _refused(folder, error) from None
            if replaced is not None:
                self._end(replaced)
            return self.deployments.find(manifest.name, manifest.version), replaced is not None

    async def unload(self, name: str, version: str) -> list[Deployment]:
        """What is served no more; the last model stays, because a service without one is none."""
        if not name:
            raise out_of_range("model", name, ", ".join(self.deployments.names()))
        async with self._changing:
            self.deployments.find(name, version)
            if self.deployments.names() == [name] and (not version or self.deployments.versions(name) == [version]):
                raise FailedPrecondition("MODEL_REFUSED", "it is all that is served", field="model", value=name)
            gone = self.deployments.take(name, version)
            for deployment in gone:
                self._end(deployment)
            return gone

    def _read(self, folder: str) -> Manifest:
        """Of a folder of the store; raises NotFound, or FailedPrecondition with what is wrong with it."""
        try:
            entries = store.entries(self.model_store)
        except store.StoreError as error:
            raise _refused(folder, error) from None
        names = [entry.folder.name for entry in entries]
        if folder not in names:
            allowed = ", ".join(names)
            raise NotFound(
                "MODEL_NOT_FOUND", "no such folder in the store", field="folder", value=folder, allowed=allowed
            )
        try:
            manifest = read_manifest(self.model_store / folder)
            manifest.check_weights()
        except (ManifestError, OSError) as error:
            raise _refused(folder, error) from None
        return manifest

    def _end(self, deployment: Deployment) -> None:
        async def when_idle() -> None:
            while deployment.admission.in_flight:
                await asyncio.sleep(LOOK_SECONDS)
            async with self._changing:
                await asyncio.to_thread(self.engine.unload, deployment.key)

        self._ending.add(task := asyncio.create_task(when_idle()))
        task.add_done_callback(self._ending.discard)


def _refused(folder: str, error: Exception) -> FailedPrecondition:
    return FailedPrecondition("MODEL_REFUSED", f"cannot be served: {error}", field="folder", value=folder)
