"""Ordinary load, and each kind of trouble that a service can be in: for tests of what is seen of it from outside."""

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from showcause import AsyncClient, Client, cli
from showcause.errors import Internal, ShowcauseError
from showcause.nets import build
from showcause.v1 import service_pb2_grpc
from tests.checkpoints import labels_file
from tests.conftest import jpeg
from tests.e2e.prometheus import Prometheus
from tests.e2e.test_faults import DEADLY
from tests.processes import roles
from tests.serving import Running

WELL_SECONDS, PAUSE_SECONDS = 8, 11  # of ordinary load; of workers that stand still: longer than ShowcauseSlow allows
BCOS, CNN, PARTS = "animals-bcos", "animals-cnn", "animals-parts"


def add_deadly_model(folder: Path) -> None:
    """One whose workers, two of them, die of a white photo."""
    (folder / "deadly.py").write_text(DEADLY)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        save_file(build("python:deadly:net", 3, {}).state_dict(), folder / "weights.safetensors")
        command = ["models", "import", "deadly", "--network", "python:deadly:net", "--input", "64"]
        command += ["--weights", folder / "weights.safetensors", "--labels", labels_file(folder, 3)]
        assert cli.main([*map(str, command), "--model-store", str(folder / "store")]) == 0
    with (folder / "store/deadly/model.toml").open("a") as manifest:
        manifest.write("[serving]\nworkers = 2\n")


def ordinary_load(running: Running, client: Client, token: str, photos: list[bytes]) -> None:
    """All models, several methods, over gRPC, REST and a stream, one after the other from each of three callers."""
    headers = {"authorization": f"Bearer {token}", "content-type": "image/jpeg"}

    def over_grpc(photo: bytes) -> None:
        client.explain(photo, model=BCOS, pictures=["color"], map_dtype="float16")
        client.predict(photo, model=BCOS)
        client.explain(photo, model=CNN, methods=["grad_cam", "cam"])
        client.explain(photo, model=CNN, methods="chip", pictures=["overlay"])
        client.model(CNN)
        client.channels(CNN)

    def over_rest(photo: bytes) -> None:
        for operation in ("explain", "predict"):
            answer = httpx.post(f"{running.rest}/v1/models/{PARTS}:{operation}", content=photo, headers=headers)
            assert answer.status_code == 200, answer.text
        assert httpx.get(f"{running.rest}/v1/models", headers=headers).status_code == 200

    def on_a_stream(photo: bytes) -> None:
        assert all(one.reply for one in client.explain_stream([(str(n), photo) for n in range(3)], model=PARTS))

    def repeat(ask) -> None:
        until, number = time.monotonic() + WELL_SECONDS, 0
        while time.monotonic() < until:
            ask(photos[number % len(photos)])
            number += 1

    with ThreadPoolExecutor(3) as pool:
        for task in [pool.submit(repeat, ask) for ask in (over_grpc, over_rest, on_a_stream)]:
            task.result()


@contextmanager
def paused(running: Running) -> Iterator[None]:
    """No worker gets on meanwhile."""
    workers = of_role(running, "worker")
    send(workers, signal.SIGSTOP)
    try:
        yield
    finally:
        send(workers, signal.SIGCONT)


def of_role(running: Running, role: str) -> list[int]:
    return [pid for pid, found in roles(running.process.pid).items() if found == role]


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


async def too_much(address: str, token: str, photo: bytes) -> None:
    """While workers stand still: a full queue and refusals, hopeless deadlines, wrong tokens, a model that is none, a
    stream whose photos wait, and almost as many open streams as there may be.
    """

    async def repeat(client: AsyncClient, model: str, pause_seconds: float = 0.05) -> None:
        while True:
            try:
                await client.predict(photo, model=model)
            except ShowcauseError:
                await asyncio.sleep(pause_seconds)

    async def stream(client: AsyncClient) -> None:
        await asyncio.sleep(PAUSE_SECONDS / 2)  # until TorchServe has as many as it takes
        async for _ in client.explain_stream([("photo", photo)], model=CNN):
            pass

    async with (
        AsyncClient(address, token=token) as client,
        AsyncClient(address, token="wrong") as stranger,
        AsyncClient(address, timeout_seconds=0.02, token=token) as hasty,
        grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel,
    ):
        stub = service_pb2_grpc.ExplanationServiceStub(channel)
        open_calls = [stub.ExplainStream(metadata=[("authorization", f"Bearer {token}")]) for _ in range(90)]
        asking = [(hasty, BCOS), (stranger, BCOS), (client, "none"), *[(client, CNN, 1.0)] * 45]
        tasks = [asyncio.create_task(one) for one in (*[repeat(*who) for who in asking], stream(client))]
        await asyncio.wait(tasks, timeout=PAUSE_SECONDS)
        for task in (*tasks, *open_calls):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def worker_deaths(running: Running, client: Client, prometheus: Prometheus, photo: bytes) -> None:
    """Of all workers, with a request in hand; of one model's two, by a request that kills them; of one of these."""
    with ThreadPoolExecutor(2) as pool:
        with paused(running):
            asked = [pool.submit(client.explain, photo, model=model) for model in (BCOS, CNN)]
            time.sleep(0.5)
            send(of_role(running, "worker"), signal.SIGKILL)
        assert [task.result().predictions[0].label for task in asked] == ["cat", "cat"]
    prometheus.wait_for("showcause_ready == 1")
    white = jpeg(Image.fromarray(np.full((64, 64, 3), 255, np.uint8)))
    with pytest.raises(Internal, match="twice"):
        client.predict(white, model="deadly")
    prometheus.wait_for("showcause_ready == 0")
    prometheus.wait_for("showcause_ready == 1")
    send([max(of_role(running, "worker"))], signal.SIGKILL)  # the youngest
    prometheus.wait_for("showcause_ready == 0")
    prometheus.wait_for("showcause_ready == 1")


def engine_death(running: Running, prometheus: Prometheus) -> None:
    send(of_role(running, "jvm"), signal.SIGKILL)
    prometheus.wait_for("showcause_ready == 0")
    prometheus.wait_for("showcause_ready == 1")


def end(running: Running, client: Client, token: str, prometheus: Prometheus, photo: bytes) -> int:
    """SIGTERM with a request in hand, which is answered, and others that are refused meanwhile; the exit code."""
    headers = {"authorization": f"Bearer {token}", "content-type": "image/jpeg"}
    with ThreadPoolExecutor(1) as pool:
        with paused(running):
            asked = pool.submit(client.explain, photo, model=BCOS)
            time.sleep(0.5)
            running.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 3
            while time.monotonic() < until:
                httpx.post(f"{running.rest}/v1/models/{CNN}:predict", content=photo, headers=headers)
                time.sleep(0.02)
        assert asked.result().predictions[0].label == "cat"
    code = running.process.wait(60)
    prometheus.wait_for('absent(up{job="showcause"} == 1)')
    return code
