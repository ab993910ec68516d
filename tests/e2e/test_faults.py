"""Workers, JVMs and requests that kill: the real service loses nothing that it has accepted."""

import os
import shutil
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from showcause import Client, cli
from showcause.errors import Internal, ShowcauseError
from showcause.nets import build
from tests.checkpoints import labels_file
from tests.conftest import jpeg
from tests.processes import alive, family, roles, wait_for_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Load:
    """Callers that ask one after another until told to stop; what became of every request, by label or error."""

    def __init__(self, address: str, photo: bytes, callers: int, **wishes: object):
        self.address, self.photo, self.callers, self.wishes = address, photo, callers, wishes
        self.outcomes: list[str] = []
        self._pool, self._over = ThreadPoolExecutor(callers), False

    def __enter__(self) -> "Load":
        self._tasks = [self._pool.submit(self._ask) for _ in range(self.callers)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for task in self._tasks:
            task.result()
        self._pool.shutdown()

    def _ask(self) -> None:
        with Client(self.address) as client:
            while not self._over:
                try:
                    self.outcomes.append(client.explain(self.photo, **self.wishes).predictions[0].label)
                except ShowcauseError as error:
                    self.outcomes.append(f"{error.code_name}: {error.message}")

    def grown(self, count: int, seconds: float = 60) -> bool:
        """Whether so many more are done within that time."""
        wanted, deadline = len(self.outcomes) + count, time.monotonic() + seconds
        while len(self.outcomes) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        return len(self.outcomes) >= wanted


def repeated(running) -> float:
    text = httpx.get(f"{running.metrics}/metrics").text
    return sum(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("showcause_repeated_requests_total")
    )


@pytest.fixture
def running(launch, shipped):
    running = launch("animals-bcos", "--model-store", str(shipped.parent))
    assert running.grpc, running.output
    return running


def test_a_worker_that_dies_takes_no_request_with_it(running, photo):
    with Load(running.grpc, photo, 4) as load:
        for _ in range(2):
            assert load.grown(5), running.output
            os.kill(family(running.process.pid)["worker"], signal.SIGKILL)
            assert load.grown(5), running.output
    assert Counter(load.outcomes).keys() == {"cat"}, "nobody noticed"
    assert repeated(running) > 0, "and yet there was something in hand"
    assert running.stop() == 0


def test_a_jvm_that_dies_is_started_anew_and_takes_no_request_with_it(running, photo):
    before = family(running.process.pid)
    with Load(running.grpc, photo, 3) as load:
        assert load.grown(5), running.output
        os.kill(before["jvm"], signal.SIGKILL)
        deadline = time.monotonic() + 10
        while httpx.get(f"{running.rest}/readyz").status_code == 200:
            assert time.monotonic() < deadline, "not ready without an engine"
            time.sleep(0.02)
        assert load.grown(9, 90), running.output
    assert Counter(load.outcomes).keys() == {"cat"}
    assert wait_for_end([before["jvm"], before["worker"]]) == [], "its workers were ended"
    now = family(running.process.pid)
    assert alive([now["jvm"], now["worker"]]) == [now["jvm"], now["worker"]]
    assert sorted(roles(running.process.pid).values()) == ["gateway", "jvm", "worker"]
    assert "TorchServe is back" in running.output
    assert httpx.get(f"{running.rest}/readyz").status_code == 200
    assert running.stop() == 0
    assert wait_for_end(list(now.values())) == []


DEADLY = """
import os

from torch import nn


class Deadly(nn.Module):
    def forward(self, x):
        if (x.flatten(1).amin(1) > 2.2).any():  # a white photo, normalised
            os._exit(9)
        return x


def net(classes):
    return nn.Sequential(
        Deadly(), nn.Conv2d(3, 8, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    )
"""


def test_a_request_that_kills_workers_is_given_up_and_its_neighbours_are_answered(launch, tmp_path, photo, monkeypatch):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    torch.manual_seed(0)
    made = build("python:deadly:net", 3, {})
    save_file(made.state_dict(), tmp_path / "weights.safetensors")
    command = ["models", "import", "deadly", "--network", "python:deadly:net", "--input", "64"]
    command += ["--weights", tmp_path / "weights.safetensors", "--labels", labels_file(tmp_path, 3)]
    store = tmp_path / "store"
    assert cli.main([*map(str, command), "--model-store", str(store)]) == 0
    running = launch("--model-store", str(store), PYTHONPATH=str(tmp_path / "packages"))
    assert running.grpc, running.output
    white = jpeg(Image.fromarray(np.full((64, 64, 3), 255, np.uint8)))
    with Client(running.grpc) as client:
        usual = client.predict(photo).predictions[0].label
        with Load(running.grpc, photo, 4, map_dtype=None) as load:
            assert load.grown(5)
            with pytest.raises(Internal, match="twice, and it is not tried again"):
                client.predict(white)
            assert load.grown(5), running.output
        assert set(load.outcomes) == {usual}
        assert client.predict(photo).predictions[0].label == usual
    assert running.stop() == 0


def test_a_broken_model_folder_is_refused_and_the_others_are_served(launch, shipped, tmp_path, photo):
    for name, source in (("good", "animals-cnn"), ("changed", "animals-bcos"), ("unloadable", "animals-bcos")):
        shutil.copytree(shipped.parent / source, tmp_path / name)
        manifest = tmp_path / name / "model.toml"
        manifest.write_text(manifest.read_text().replace(f'name = "{source}"', f'name = "{name}"'))
    with open(tmp_path / "changed/weights.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    with open(tmp_path / "unloadable/model.toml", "a") as file:  # what only the worker finds out
        file.write("\n[network_options]\nwings = 2\n")
    running = launch("--model-store", str(tmp_path))
    assert running.grpc, running.output
    assert "refused changed: " in running.output
    assert "has SHA-256" in running.output
    assert "refused unloadable: model unloadable cannot be loaded" in running.output
    assert "wings" in running.output
    with Client(running.grpc) as client:
        assert [model.name for model in client.models()] == ["good"]
        assert client.predict(photo).predictions[0].label == "cat"
    assert Path(tmp_path / "changed").exists()
    assert running.stop() == 0
