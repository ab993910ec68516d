"""Clients that know nothing of us: reflection, health probes, and the README's commands as written."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent.parent / "README.md"


def test_a_client_that_learns_the_contract_by_reflection(service, photo):
    from grpc_requests import Client

    client = Client(service.grpc)
    assert "showcause.v1.ExplanationService" in client.service_names
    request = {"model": "animals-bcos", "input": {"image": base64.b64encode(photo).decode()}, "targets": [{"top_k": 2}]}
    reply = client.request("showcause.v1.ExplanationService", "Explain", request)
    assert len(reply["explanations"]) == 2
    assert reply["explanations"][0]["kind"] == "EXPLANATION_KIND_INHERENT"
    models = client.request("showcause.v1.ExplanationService", "ListModels", {})
    assert models["models"][0]["name"] == "animals-bcos"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def adapted(text: str, service) -> str:
    """The README's ports are the fixed ones; the test's service has others."""
    return text.replace("localhost:50051", service.grpc).replace("http://localhost:8080", service.rest)


@pytest.fixture
def folder(photo, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(photo)
    return tmp_path


@pytest.mark.parametrize(
    ("number", "said"), [(0, "cat: inherent"), (1, "cat, not dog: score"), (2, "cat.jpg cat")], ids=str
)
def test_readme_python(service, folder, number, said):
    code = adapted(blocks("python")[number], service).replace("Client()", f"Client({service.grpc!r})")
    environment = os.environ | {"PYTHONPATH": str(README.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert list(folder.glob("**/*.png")) or number


def test_readme_parts_and_a_call_that_names_no_model(launch, shipped, folder):
    running = launch("--model-store", str(shipped.parent))  # all that is shipped
    code = adapted(blocks("python")[3], running).replace("Client()", f"Client({running.grpc!r})")
    environment = os.environ | {"PYTHONPATH": str(README.parent)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.match(r"filter \d+, cat head: \+\d+\.\d%\n", done.stdout), done.stdout
    done = subprocess.run(
        [*command[:2], code.replace('model="animals-parts", ', "")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "model: " in done.stderr
    assert "allowed: animals-bcos, animals-cnn, animals-parts" in done.stderr
    code = adapted(blocks("python")[4], running).replace("Client()", f"Client({running.grpc!r})")
    done = subprocess.run(
        [*command[:2], code], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"grad_cam: localization_accuracy 0\.\d\d, central box 0\.\d\d Rectangle\(", done.stdout), (
        done.stdout
    )
    assert "grad_cam and chip: rank correlation +" in done.stdout


def test_every_python_block_of_the_readme_is_tried():
    assert len(blocks("python")) == 5


def test_readme_curl(service, folder):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    (code,) = [block for block in blocks("sh") if "curl" in block and "grpcurl" not in block]
    script = f'set -e\ncurl() {{ command curl --fail --silent --show-error "$@"; }}\n{adapted(code, service)}'
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "why.png").read_bytes().startswith(b"\x89PNG")
    assert '"predictions"' in done.stdout


def test_readme_grpcurl(service, folder):
    if not shutil.which("grpcurl"):
        pytest.skip("needs grpcurl")
    (code,) = [block for block in blocks("sh") if "grpcurl" in block]
    done = subprocess.run(
        ["bash", "-ec", adapted(code, service)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "EXPLANATION_KIND_INHERENT" in done.stdout
    assert json.loads(done.stdout[done.stdout.index("{") :].split("\n}\n")[0] + "\n}")
