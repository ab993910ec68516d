"""The built wheel in environments of its own: the client alone without torch, and the whole service."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from showcause import Client

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.timeout(900)  # torch is installed once more


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def environment(folder: Path, *packages: str) -> Path:
    """A new virtual environment with nothing but ``packages``; its python."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    for package in packages:
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return python


def test_the_client_alone_has_no_torch_and_works(wheel, tmp_path, service, photo):
    python = environment(tmp_path / "client", str(wheel))
    (tmp_path / "cat.jpg").write_bytes(photo)
    code = f"""
import importlib.util, showcause
assert importlib.util.find_spec("torch") is None
with showcause.Client({service.grpc!r}) as client:
    reply = client.explain("cat.jpg", pictures=["overlay"])
    print(reply.predictions[0].label, reply.explanation.map.shape)
"""
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command = [tmp_path / "client/bin/showcause", "explain", "cat.jpg", "--address", service.grpc, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused = subprocess.run([tmp_path / "client/bin/showcause", "serve"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "showcause[server]" in refused.stderr


def test_the_wheel_serves(launch, wheel, tmp_path, photo, monkeypatch):
    python = environment(tmp_path / "server", "torch==2.13.0", f"{wheel}[server]")
    monkeypatch.chdir(tmp_path)  # not beside the repository's own files
    monkeypatch.setenv("PATH", f"{tmp_path}/server/bin")  # no Java but the wheel's
    monkeypatch.delenv("JAVA_HOME", raising=False)
    running = launch(program=(str(python.parent / "showcause"),))
    assert running.grpc, running.output
    with Client(running.grpc) as client:
        assert [model.name for model in client.models()] == ["animals-bcos", "animals-cnn", "animals-parts"]
        assert client.explain(photo, model="animals-cnn", methods="chip").explanation.target.label == "cat"
        parts = client.explain(photo, model="animals-parts")
        assert (parts.explanation.parts[0].category, parts.explanation.parts[0].name) == ("cat", "head")
        reply = client.explain(photo, model="animals-bcos")
    assert reply.explanation.residual.relative < 1e-4
    assert running.stop() == 0, running.output
