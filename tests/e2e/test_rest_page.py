"""docs/rest.md: every command of it, as written."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "rest.md").read_text()
SH, PYTHON, JSON = (re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) for language in ("sh", "python", "json"))


@pytest.fixture
def run(service, photo, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(photo)

    def run(*command: str) -> str:
        command = [part.replace("http://localhost:8080", service.rest) for part in command]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_commands(run, tmp_path):
    *good, bad = SH
    assert "predictions" in run("bash", "-c", "\n".join(["set -e", 'curl() { command curl -sSf "$@"; }', *good]))
    explained = {"cat.json": 1, "form.json": 2, "json.json": 1}
    for name, count in explained.items():
        assert len(json.loads((tmp_path / name).read_text())["explanations"]) == count
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")

    problem, (shown,) = json.loads(run("bash", "-c", bad)), JSON
    assert problem | {"request_id": ""} == json.loads(shown) | {"request_id": ""}


def test_the_arrays(run):
    (code,) = PYTHON
    lines = run(sys.executable, "-c", code).splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"\w+ \(\d+, \d+\) \(6, \d+, \d+\)", lines[0])


def test_every_code_block_is_tried():
    assert (len(SH), len(PYTHON), len(JSON)) == (5, 1, 1)
    assert PAGE.count("```") == 14
