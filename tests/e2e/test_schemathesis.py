"""The REST API against its own description, with cases that schemathesis makes from it."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_the_service_keeps_to_its_description(service, tmp_path):
    program, report = Path(sys.executable).parent / "st", tmp_path / "report.ndjson"
    command = [program, "--config-file", CONFIG, "run", f"{service.rest}/openapi.json", "--report-ndjson-path", report]
    environment = os.environ | {"PYTHONPATH": str(CONFIG.parent.parent.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for operation in ("explain", "predict"):
        found = statuses(report)[f"POST /v1/models/{{model}}:{operation}"]
        assert found[200] >= 3, f"too few cases get past the checks: {found}"
        assert found[400] >= 10, found


def statuses(report: Path) -> dict[str, Counter[int]]:
    """How often each operation answered with each status."""
    found: dict[str, Counter[int]] = {}
    for line in report.read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for interaction in recorder.get("interactions", {}).values():
            if response := interaction.get("response"):
                found.setdefault(recorder["label"], Counter())[response["status_code"]] += 1
    return found
