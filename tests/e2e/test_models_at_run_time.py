"""Loading, reloading, unloading, another version: while requests come in, and without losing one."""

import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from showcause import Client
from showcause.errors import NotFound
from tests.e2e.test_faults import Load


def version(source: Path, folder: Path, number: str, name: str = "animals-cnn") -> None:
    shutil.copytree(source, folder)
    text = (folder / "model.toml").read_text()
    text = text.replace('name = "animals-cnn"', f'name = "{name}"').replace('version = "1.0"', f'version = "{number}"')
    (folder / "model.toml").write_text(text)


def models(running, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "showcause.cli", "models", *arguments, "--admin", running.admin]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def store(shipped, tmp_path):
    version(shipped.parent / "animals-cnn", tmp_path / "cnn", "1.0")
    return tmp_path


def test_versions_come_and_go_under_load(launch, store, photo):
    running = launch("--model-store", str(store))
    assert running.grpc, running.output

    def served() -> str:
        return client.predict(photo, model="animals-cnn").receipt["version"]

    with Client(running.grpc) as client, Load(running.grpc, photo, 3, model="animals-cnn", methods=["cam"]) as load:
        assert load.grown(5)
        assert "reloaded animals-cnn 1.0 from cnn" in models(running, "load", "cnn")
        assert load.grown(5)

        version(store / "cnn", store / "cnn-next", "1.1")
        text = (store / "cnn-next/model.toml").read_text()
        (store / "cnn-next/model.toml").write_text(text.replace('version = "1.0"', 'version = "1.1"'))
        said = models(running, "load", "cnn-next")
        assert "loaded animals-cnn 1.1 from cnn-next; requests that name no version get another one" in said
        assert served() == "1.0"
        assert client.predict(photo, model="animals-cnn", version="1.1").receipt["version"] == "1.1"
        assert list(client.model("animals-cnn").versions) == ["1.0", "1.1"]

        models(running, "default", "animals-cnn", "1.1")
        assert served() == "1.1"
        assert "unloaded animals-cnn 1.0" in models(running, "unload", "animals-cnn", "--version", "1.0")
        with pytest.raises(NotFound) as caught:
            client.predict(photo, model="animals-cnn", version="1.0")
        assert caught.value.allowed == "1.1"
        assert load.grown(5)

        version(store / "cnn-next", store / "other", "1.0", "other")
        models(running, "load", "other")
        assert client.predict(photo, model="other").predictions[0].label == "cat"
        models(running, "unload", "other")
        with pytest.raises(NotFound):
            client.predict(photo, model="other")
        with grpc.insecure_channel(running.grpc) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service="other"), timeout=20
            )
            told = (answer.status for answer in watch)
            assert health_pb2.HealthCheckResponse.NOT_SERVING in told, "who is gone is not healthy"
        assert load.grown(5)
    assert set(load.outcomes) == {"cat"}, "not one was lost"
    assert running.stop() == 0


def test_what_cannot_be_done_is_refused_and_changes_nothing(launch, store, photo):
    running = launch("--model-store", str(store))
    shutil.copytree(store / "cnn", store / "broken")
    (store / "broken/labels.txt").unlink()
    shutil.copytree(store / "cnn", store / "unloadable")
    text = (store / "unloadable/model.toml").read_text()
    (store / "unloadable/model.toml").write_text(text.replace("added = 240", "added = 241"))
    assert "folder: no such folder in the store; got 'nix'; allowed: broken, cnn, unloadable" in models(
        running, "load", "nix", code=1
    )
    assert "no such folder" in models(running, "load", "../cnn", code=1)
    assert "has no labels.txt" in models(running, "load", "broken", code=1)
    assert "does not fit network" in models(running, "load", "unloadable", code=1)
    assert "it is all that is served" in models(running, "unload", "animals-cnn", code=1)
    assert "no such model is served" in models(running, "unload", "nix", code=1)
    assert "no such version of model" in models(running, "default", "animals-cnn", "9", code=1)
    with Client(running.grpc) as client:
        assert client.predict(photo).predictions[0].label == "cat"
    assert running.stop() == 0
