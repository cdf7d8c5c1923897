"""Write monitoring/alerts.yml as a PrometheusRule, for the Prometheus Operator: prometheus_rule.py OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

__all__ = ["RULES", "text"]

RULES = Path(__file__).parents[1] / "monitoring" / "alerts.yml"
HEAD = "# Written by scripts/prometheus_rule.py (make rules) from monitoring/alerts.yml: edit that.\n"


def text() -> str:
    """Return the manifest."""
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sbnode", "namespace": "sbnode"},
        "spec": yaml.safe_load(RULES.read_text("utf-8")),
    }
    return HEAD + yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), "utf-8")
