"""Makes prometheus-rule.yaml and dashboard.json below deploy/monitoring/ from rules.yml and dashboard.yml. With --check
changes nothing: exit 1 where they differ, where promtool is not content, or where a query names a series that is not.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from dashboard import dashboard, queries

from showcause.gateway.metrics import Metrics, of_deployments

FOLDER = Path(__file__).resolve().parent.parent / "deploy/monitoring"
RULES, PANELS, TESTS = FOLDER / "rules.yml", FOLDER / "dashboard.yml", FOLDER / "rules_test.yml"
RULE_OBJECT = """# Made from rules.yml by tools/monitoring.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: showcause
  labels:
    app.kubernetes.io/name: showcause
spec:
"""
# What one series family is, by its type: the names that queries may use.
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
LABELS = r"(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
NOT_SERIES = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^]]*\]'  # texts, matchers, windows
    rf"|\b{LABELS}|\b[a-z_0-9]+\s*(?:{LABELS}\s*)?\("  # labels, functions
    r"|\b(?:and|or|unless|bool|offset\s+\w+)\b|\b\d[\d.]*(?:e[-+]?\d+|\w*)"  # operators, numbers
)
SERIES = re.compile(r"[A-Za-z_:][\w:]*")


def generated() -> dict[Path, str]:
    """What the files should hold."""
    model = json.dumps(dashboard(yaml.safe_load(PANELS.read_text())), indent=1)
    rule_object = RULE_OBJECT + textwrap.indent(RULES.read_text(), "  ")
    return {FOLDER / "prometheus-rule.yaml": rule_object, FOLDER / "dashboard.json": model + "\n"}


def alerts() -> list[dict[str, Any]]:
    """The rules of rules.yml."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def asked() -> list[str]:
    """Every query of the dashboard and of the alerts."""
    return [*queries(yaml.safe_load(PANELS.read_text())), *(rule["expr"] for rule in alerts())]


def named_series(query: str) -> set[str]:
    """The series that PromQL names."""
    return set(SERIES.findall(NOT_SERIES.sub(" ", query)))


def known_series() -> set[str]:
    """All that there can be: what the service declares, what TorchServe lists, and ``up``."""
    families = [*Metrics().registry.collect(), *of_deployments([])]
    ours = {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}
    torchserve = find_spec("ts")
    if torchserve is None or not torchserve.submodule_search_locations:
        sys.exit("torchserve is not installed: its series cannot be known")
    listed = yaml.safe_load((Path(torchserve.submodule_search_locations[0]) / "configs/metrics.yaml").read_text())
    theirs = {
        series["name"]
        for kinds in ("ts_metrics", "model_metrics")
        for rows in listed[kinds].values()
        for series in rows
    }
    return ours | theirs | {"up"}


def problems() -> list[str]:
    """What is wrong, without promtool."""
    found = [
        f"{path.relative_to(FOLDER.parent.parent)} is not what its source gives; run tools/monitoring.py"
        for path, text in generated().items()
        if not path.exists() or path.read_text() != text
    ]
    known = known_series()
    return found + [f"no such series: {name}, in {query}" for query in asked() for name in named_series(query) - known]


def promtool_problems() -> list[str]:
    """What promtool finds: in the rules, in their tests, and in the dashboard's queries (as if they were rules)."""
    if not shutil.which("promtool"):
        print("promtool is not installed: rules were not checked by it")
        return []
    plain = [query.replace("$__rate_interval", "1m") for query in queries(yaml.safe_load(PANELS.read_text()))]
    as_rules = [{"record": f"dashboard:{number}", "expr": query} for number, query in enumerate(plain)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dashboard.yml"
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": as_rules}]}))
        commands = (["check", "rules", RULES], ["check", "rules", "--lint=none", path], ["test", "rules", TESTS])
        runs = [
            subprocess.run(["promtool", *map(str, each)], check=False, capture_output=True, text=True)
            for each in commands
        ]
    return [f"promtool: {run.stdout}{run.stderr}" for run in runs if run.returncode]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 for what is wrong")
    if parser.parse_args().check:
        if wrong := problems() + promtool_problems():
            sys.exit("\n".join(wrong))
        return
    for path, text in generated().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
