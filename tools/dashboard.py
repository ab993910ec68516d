"""deploy/monitoring/dashboard.yml as Grafana's JSON model."""

from collections.abc import Iterator, Mapping
from typing import Any

Rows = Mapping[str, list[dict[str, Any]]]  # panels by the title of their row; dashboard.yml says what a panel has

REPLICA = 'job="showcause", instance=~"$instance"'
MATCHERS = {"SERVICE": REPLICA, "MODEL": f'{REPLICA}, model=~"$model"'}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PAGE_WIDTH = 24
STAT_SIZE, PANEL_SIZE = (4, 4), (8, 8)  # width and height on Grafana's grid
NO_COLUMNS = ("Time", "Value", "__name__", "job")  # of a table


def queries(rows: Rows) -> list[str]:
    """All PromQL of the dashboard, with Grafana's variables in it."""
    return [_complete(query) for panels in rows.values() for panel in panels for query in panel["queries"].values()]


def dashboard(rows: Rows) -> dict[str, Any]:
    """The JSON model, schema 39: Grafana 10.4 and later."""
    return {
        "uid": "showcause",
        "title": "Showcause",
        "description": "Served explanations: traffic, where the time goes, workers, and whether explanations add up.",
        "tags": ["showcause"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": list(_variables())},
        "panels": list(_laid_out(rows)),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    for name, label, series in (
        ("instance", "Replica", "showcause_build_info"),
        ("model", "Model", "showcause_model_info"),
    ):
        query = f'label_values({series}{{job="showcause"}}, {name})'
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",  # requests too that were refused before their model was known
            "current": {"text": ["All"], "value": ["$__all"]},
        }


def _laid_out(rows: Rows) -> Iterator[dict[str, Any]]:
    """Rows one below the other; panels from left to right."""
    number = top = 0
    for title, panels in rows.items():
        number += 1
        place = {"x": 0, "y": top, "w": PAGE_WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place}
        top += 1
        left = height = 0
        for panel in panels:
            width, height = (
                STAT_SIZE if panel.get("kind") == "stat" else (panel.get("width", PANEL_SIZE[0]), PANEL_SIZE[1])
            )
            if left + width > PAGE_WIDTH:
                top, left = top + height, 0
            number += 1
            place = {"x": left, "y": top, "w": width, "h": height}
            yield {"id": number, "gridPos": place, **_panel(**panel)}
            left += width
        top += height


def _panel(
    title: str,
    text: str,
    queries: Mapping[str, str],
    unit: str = "short",
    kind: str = "timeseries",
    width: int = 0,
    stacked: bool = False,
    logarithmic: bool = False,
    most: float | None = None,
) -> dict[str, Any]:
    """One panel of dashboard.yml; raises TypeError for a key that it does not know."""
    instant = {"instant": True, "range": False, "format": "table"} if kind == "table" else {}
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": _complete(query),
            "legendFormat": legend,
            **instant,
        }
        for number, (legend, query) in enumerate(queries.items())
    ]
    defaults: dict[str, Any] = {"unit": unit}
    made = {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
    if kind == "stat":
        text_mode = "name" if unit == "string" else "value"
        made["options"] = {"textMode": text_mode, "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    elif kind == "table":
        hidden = dict.fromkeys(NO_COLUMNS, True)
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    else:
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        defaults["custom"] = {
            "fillOpacity": 25 if stacked else 5,
            "showPoints": "auto",
            "stacking": {"mode": "normal" if stacked else "none"},
            "scaleDistribution": {"type": "log", "log": 10} if logarithmic else {"type": "linear"},
        }
        defaults |= {} if logarithmic else {"min": 0}
        defaults |= {} if most is None else {"max": most}
    return made


def _complete(query: str) -> str:
    for name, matchers in MATCHERS.items():
        query = query.replace(f"{{{name}", f"{{{matchers}")
    return query
