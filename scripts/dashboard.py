"""Write the Grafana dashboard, monitoring/grafana/dashboard.json: dashboard.py OUTPUT."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from scripts.panels import ROWS, Panel

__all__ = ["dashboard", "text"]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
"""Of Grafana's grid."""
GOOD, BAD = "green", "red"


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "sbnode",
        "title": "sbnode",
        "tags": ["sbnode", "dicom"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(_variables())},
        "annotations": {"list": [_alerts()]},
        "links": [],
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    question = 'label_values(up{job="sbnode"}, instance)'
    yield {
        "name": "instance",
        "label": "Node",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": question, "refId": "instance"},
        "definition": question,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }


def _alerts() -> dict[str, Any]:
    """Mark on every panel when an alert fires."""
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": SOURCE,
        "expr": 'ALERTS{alertname=~"Sbnode.*", alertstate="firing", severity!="info"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{destination}} {{stage}}",
        "iconColor": BAD,
    }


def _panels() -> Iterator[dict[str, Any]]:
    ids, top = count(1), 0
    for row in ROWS:
        yield {
            "id": next(ids),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }
        left, top = 0, top + 1
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + panel.height
            yield _panel(panel, next(ids), left, top)
            left += panel.width
        top += row.panels[-1].height


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
            for index, (query, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": _steps(panel)}}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults |= {
            "min": 0,
            "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "auto", "stacking": stacking},
        }
    if panel.words:
        words = {value: {"text": word, "index": index} for index, (value, word) in enumerate(panel.words.items())}
        defaults["mappings"] = [{"type": "value", "options": words}]
    return defaults


def _steps(panel: Panel) -> list[dict[str, Any]]:
    below, above = (BAD, GOOD) if panel.falling else (GOOD, BAD)
    first = {"color": below if panel.red is not None else "text", "value": None}
    return [first] if panel.red is None else [first, {"color": above, "value": panel.red}]


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": calculation, "colorMode": "background", "graphMode": "none", "textMode": "value"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def text() -> str:
    """Return the content of the file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
