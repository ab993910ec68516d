"""Rules and dashboard without a Prometheus: made from their sources, about series that there are, and documented."""

import json
import re
import shutil
import sys
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))  # where the script finds its own modules
import monitoring  # noqa: E402

OPERATIONS = (ROOT / "docs/operations.md").read_text()
DASHBOARD = json.loads((monitoring.FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_made_files_are_those_of_their_sources_and_queries_name_series_that_there_are():
    assert monitoring.problems() == []


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_promtool_is_content_and_finds_what_is_wrong(monkeypatch, tmp_path):
    assert monitoring.promtool_problems() == []
    rules = monitoring.RULES.read_text()
    assert "> 0.01" in rules
    (tmp_path / "rules.yml").write_text(rules.replace("> 0.01", "> 0.1"))
    (tmp_path / "rules_test.yml").write_text(monitoring.TESTS.read_text())
    monkeypatch.setattr(monitoring, "TESTS", tmp_path / "rules_test.yml")
    (problem,) = monitoring.promtool_problems()
    assert "ShowcauseErrors" in problem


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("up", {"up"}),
        ('absent(up{job="showcause"} == 1)', {"up"}),
        ('sum by (model, le) (rate(a_bucket{code!="OK, b"}[5m])) / on (model) group_left () c', {"a_bucket", "c"}),
        ("histogram_quantile(0.9, sum(rate(a_bucket[5m])) by (le)) > 1e-3", {"a_bucket"}),
        ("a unless a offset 1h or b > bool 2 and vector(0)", {"a", "b"}),
    ],
)
def test_the_series_of_a_query(query, names):
    assert monitoring.named_series(query) == names


def test_a_series_that_is_none_is_found(monkeypatch):
    known = monitoring.known_series()
    monkeypatch.setattr(monitoring, "known_series", lambda: known - {"showcause_ready"})
    found = monitoring.problems()
    assert found != []
    assert all(line.startswith("no such series: showcause_ready, in ") for line in found)


@pytest.mark.parametrize("rule", monitoring.alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_the_matter_and_what_to_do_and_is_tested(rule):
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert f"\n### {rule['alert']}\n" in OPERATIONS
    assert f'alertname="{rule["alert"]}", severity="{rule["labels"]["severity"]}"' in monitoring.TESTS.read_text()


def test_the_page_has_no_alert_that_is_none():
    assert set(re.findall(r"^### (Showcause\w+)$", OPERATIONS, re.M)) == {rule["alert"] for rule in monitoring.alerts()}


def test_the_page_lists_every_series_of_the_service_and_no_other():
    declared = {re.sub(r"_(bucket|sum|count)$", "", name) for name in monitoring.known_series()}
    listed = re.findall(r"^\| `(showcause_\w+)", OPERATIONS, re.M)
    assert sorted(listed) == sorted(name for name in declared if name.startswith("showcause_"))


def test_panels_lie_beside_each_other():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_a_description_a_unit_and_the_dashboards_variables(panel):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert '{job="showcause", instance=~"$instance"' in target["expr"]
        assert all(
            label in target["expr"] for label in re.findall(r"{{(\w+)}}", target["legendFormat"]) if label != "instance"
        )
