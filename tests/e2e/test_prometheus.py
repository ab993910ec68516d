"""A real Prometheus sees a real service: at work, in each kind of trouble, and at its end. Every query of the dashboard
and every alert has data then, and no alert has any while all is well."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from showcause import AsyncClient, Client, cli
from showcause.errors import Internal, InvalidArgument, ShowcauseError
from showcause.gateway.access import add_token
from showcause.nets import build
from showcause.v1 import service_pb2_grpc
from tests.checkpoints import labels_file
from tests.conftest import jpeg
from tests.e2e.prometheus import INSTALLED, Prometheus
from tests.e2e.test_faults import DEADLY
from tests.processes import roles
from tests.serving import Running, start

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))  # where the script finds its own modules
import monitoring  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs Prometheus and promtool"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

DASHBOARD = monitoring.queries(yaml.safe_load(monitoring.PANELS.read_text()))
ALERTS = {rule["alert"]: rule["expr"] for rule in monitoring.alerts()}
# What a machine without a fault of ours cannot show. rules_test.yml provokes them by made-up series.
NOT_HERE = {
    "ShowcauseExplanationsDoNotAddUp",  # explanations do
    "ShowcauseCostsMisjudged",  # the half of half an hour's requests would have to cost twice as much as those before
    "ShowcauseWeightsDiffer",  # takes two replicas, deployed wrongly
}
VARIABLES = {"$__rate_interval": "15s", "$instance": ".*", "$model": ".*"}
WELL_SECONDS, PAUSE_SECONDS = 8, 11  # of ordinary load; of workers that stand still: longer than ShowcauseSlow allows
BCOS, CNN, PARTS = "animals-bcos", "animals-cnn", "animals-parts"


@dataclass
class Seen:
    """prometheus: with all that happened in it. began, well: when ordinary load had begun, and before any trouble.

    metrics: the text of /metrics under load; code: the service's exit code; output: what it printed.
    """

    prometheus: Prometheus
    began: float
    well: float
    metrics: str
    code: int
    output: str


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, photo: bytes, photos: list[bytes], shipped: Path) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "token").write_text(token := add_token(folder / "tokens.toml", "prometheus", (), True))
    caller = add_token(folder / "tokens.toml", "caller", None, False)
    for model in (BCOS, CNN, PARTS):
        (folder / "store" / model).parent.mkdir(exist_ok=True)
        (folder / "store" / model).symlink_to(shipped.parent / model)
    add_deadly_model(folder)
    settings = ("--model-store", str(folder / "store"), "--tokens", str(folder / "tokens.toml"), "--queue-size", "2")
    running = start(*settings, PYTHONPATH=str(folder))
    try:
        assert running.grpc, running.output
        target = running.metrics.removeprefix("http://")
        with (
            Prometheus(folder, monitoring.RULES, target, folder / "token") as prometheus,
            Client(running.grpc, token=caller) as client,
        ):
            prometheus.wait_for('up{job="showcause"} == 1')
            began = time.time()
            ordinary_load(running, client, caller, photos)
            metrics = httpx.get(f"{running.metrics}/metrics", headers={"authorization": f"Bearer {token}"}).text
            well = time.time()
            with ThreadPoolExecutor(3) as pool, paused(running):
                slow = [pool.submit(client.explain, photo, model=PARTS) for _ in range(3)]
                asyncio.run(too_much(running.grpc, caller, photo))
            assert [task.result().predictions[0].label for task in slow] == ["cat"] * 3
            with pytest.raises(InvalidArgument):
                client.explain(b"no photo", model=CNN)
            worker_deaths(running, client, prometheus, photo)
            engine_death(running, prometheus)
            code = end(running, client, caller, prometheus, photo)
            yield Seen(prometheus, began, well, metrics, code, running.output)
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def add_deadly_model(folder: Path) -> None:
    """One whose worker dies of a white photo."""
    (folder / "deadly.py").write_text(DEADLY)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        save_file(build("python:deadly:net", 3, {}).state_dict(), folder / "weights.safetensors")
        command = ["models", "import", "deadly", "--network", "python:deadly:net", "--input", "64"]
        command += ["--weights", folder / "weights.safetensors", "--labels", labels_file(folder, 3)]
        assert cli.main([*map(str, command), "--model-store", str(folder / "store")]) == 0


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
    """While workers stand still: a full queue and refusals, hopeless deadlines, wrong tokens, a model that is none, and
    almost as many open streams as there may be.
    """

    async def repeat(client: AsyncClient, model: str, pause_seconds: float = 0.05) -> None:
        while True:
            try:
                await client.predict(photo, model=model)
            except ShowcauseError:
                await asyncio.sleep(pause_seconds)

    async with (
        AsyncClient(address, token=token) as client,
        AsyncClient(address, token="wrong") as stranger,
        AsyncClient(address, timeout_seconds=0.02, token=token) as hasty,
        grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel,
    ):
        stub = service_pb2_grpc.ExplanationServiceStub(channel)
        open_calls = [stub.ExplainStream(metadata=[("authorization", f"Bearer {token}")]) for _ in range(90)]
        asking = [(hasty, BCOS), (stranger, BCOS), (client, "none"), *[(client, CNN, 1.0)] * 45]
        tasks = [asyncio.create_task(repeat(*who)) for who in asking]
        await asyncio.wait(tasks, timeout=PAUSE_SECONDS)
        for task in (*tasks, *open_calls):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def worker_deaths(running: Running, client: Client, prometheus: Prometheus, photo: bytes) -> None:
    """Of all workers, with a request in hand; then of one model's, by a request that kills them."""
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


def substituted(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


@pytest.mark.parametrize("query", DASHBOARD, ids=lambda query: query[:60])
def test_every_query_of_the_dashboard_has_data(seen, query):
    assert seen.prometheus.ever(substituted(query), seen.began)


def test_every_alert_was_provoked_but_those_that_cannot_be(seen):
    assert {name for name, query in ALERTS.items() if not seen.prometheus.ever(query, seen.well)} == NOT_HERE


def test_each_trouble_is_counted_by_its_own_name(seen):
    query = 'max by (code, reason) (showcause_requests_total{code!="OK"})'
    known = seen.prometheus.ever(query, seen.well)
    found = {tuple(series["metric"].get(name, "") for name in ("code", "reason")) for series in known}
    assert found >= {
        ("RESOURCE_EXHAUSTED", "QUEUE_FULL"),
        ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT"),
        ("UNAUTHENTICATED", "INVALID_TOKEN"),
        ("NOT_FOUND", "MODEL_NOT_FOUND"),
        ("INVALID_ARGUMENT", "IMAGE_NOT_DECODABLE"),
        ("INTERNAL", "WORKER_DIED"),
        ("UNAVAILABLE", "ENGINE_UNAVAILABLE"),
    }


def test_no_alert_had_anything_to_say_while_all_was_well(seen):
    assert [name for name, query in ALERTS.items() if seen.prometheus.now(query, seen.well)] == []


def test_what_cannot_be_provoked_here_is_provoked_by_promtool():
    assert [name for name in NOT_HERE if f'alertname="{name}"' not in monitoring.TESTS.read_text()] == []


def test_prometheus_has_our_rules_and_evaluates_them(seen):
    groups = seen.prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == set(ALERTS)
    assert [rule for rule in rules if rule["health"] != "ok"] == []


def test_promtool_is_content_with_the_metrics(seen):
    run = subprocess.run(
        ["promtool", "check", "metrics"], check=False, input=seen.metrics, capture_output=True, text=True
    )
    # The names of TorchServe's series are its own affair.
    assert [line for line in run.stderr.splitlines() if line.startswith("showcause_")] == []
    assert run.returncode in (0, 3), "3: there is something to complain of; 1: it cannot be read"
    assert "showcause_build_info" in seen.metrics


def test_it_ended_as_it_should(seen):
    assert seen.code == 0, seen.output
