"""A real Prometheus sees a real service: at work, in each kind of trouble, and at its end. Every query of the dashboard
and every alert has data then, and no alert has any while all is well."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from showcause import Client
from showcause.errors import InvalidArgument
from showcause.gateway.access import add_token
from tests.e2e.prometheus import INSTALLED, Prometheus
from tests.e2e.troubles import (
    BCOS,
    CNN,
    PARTS,
    add_deadly_model,
    end,
    engine_death,
    ordinary_load,
    paused,
    too_much,
    worker_deaths,
)
from tests.serving import start

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


def substituted(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


@pytest.mark.parametrize("query", DASHBOARD, ids=lambda query: query[:60])
def test_every_query_of_the_dashboard_has_data(seen, query):
    # Above 0 at some time, without any exception: a wrong query can be 0 for ever, too.
    assert seen.prometheus.ever(f"({substituted(query)}) > 0", seen.began)


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
