"""A real Prometheus for tests: it scrapes one service every second, and evaluates our rules."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

CONFIG = {
    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
    "scrape_configs": [{"job_name": "showcause"}],
}
START_SECONDS = 20
INSTALLED = shutil.which("prometheus") and shutil.which("promtool")


class Prometheus:
    """target: host:port of the metrics; token: file with the one that may read them."""

    def __init__(self, folder: Path, rules: Path, target: str, token: Path):
        (job,) = CONFIG["scrape_configs"]
        job = job | {
            "static_configs": [{"targets": [target]}],
            "authorization": {"credentials_file": str(token)},
        }
        config = folder / "prometheus.yml"
        config.write_text(json.dumps(CONFIG | {"rule_files": [str(rules)], "scrape_configs": [job]}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.log = folder / "prometheus.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address={address}",
                ],
                stdout=log,
                stderr=log,
            )
        self.client = httpx.Client(base_url=f"http://{address}", timeout=30, trust_env=False)

    def __enter__(self) -> "Prometheus":
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "Prometheus does not get ready"
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(20)

    def ready(self) -> bool:
        try:
            return self.client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, path: str, **parameters: object) -> Any:
        """What its HTTP API has."""
        path = f"/api/v1/{path}"
        answer = self.client.post(path, data=parameters) if parameters else self.client.get(path)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def now(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series that a query gives now, or gave then (seconds since the epoch)."""
        return self.ask("query", query=query, **({} if at is None else {"time": at}))["result"]

    def ever(self, query: str, since: float) -> list[dict[str, Any]]:
        """The series that a query gave in any second since then, with a value that is a number."""
        found = self.ask("query_range", query=query, start=since, end=time.time(), step=1)["result"]
        return [series for series in found if any(value != "NaN" for _, value in series["values"])]

    def wait_for(self, query: str, seconds: float = 60) -> float:
        """Until a query gives something; when it did, in seconds since the epoch."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.now(query):
                return time.time()
            time.sleep(0.2)
        raise AssertionError(f"{query}: nothing within {seconds} s\n{self.log.read_text()[-3000:]}")
