"""A real Prometheus with the shipped rules, hurried: what takes an hour in a hospital takes seconds in a test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.conftest import REPOSITORY
from tests.integration.peers import HOST, Process, free_port, http_status, program

SHIPPED = REPOSITORY / "monitoring" / "alerts.yml"
WINDOWS = {
    "5m": "8s",
    "30m": "10s",
    "1h": "10s",
    "3h": "8s",
    "6h": "12s",
    "1d": "12s",
    "2d": "14s",
    "3d": "16s",
    "28d": "600s",
}
LIMITS = {
    "SbnodeWorkerRestarts": ("> 3", "> 0.9"),
    "SbnodeJobTooOld": ("> 3600", "> 3"),
    "SbnodeDeadLetters": ("< 86400", "< 60"),
    "SbnodeCommitmentMissing": ("< 86400", "< 8"),
    "SbnodeModelChanged": ("[10s]", "[25s]"),  # a worker may take as long to start
    "SbnodeErrorBudgetBurn": ("> 5", "> 0"),
    "SbnodeErrorBudgetSlowBurn": ("> 5", "> 0"),
}
"""Numbers of the rules, and what they are in the test."""
PATIENT = {"SbnodeDown": "10s"}
"""Rules that still wait: one scrape without an answer, which a busy machine may cause, is no node that is down."""
WORKING_HOURS = re.compile(r"and on \(\) \((day_of_week|hour)\(\)[^)]*\(\)[^)]*\)")
LEAST_SERIES = ">= 8"


def hurried(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules with hardly any waiting, with windows of seconds, at any hour; all else as it is."""
    groups = []
    for group in rules["groups"]:
        made = [{key: value for key, value in rule.items() if key != "for"} for rule in group["rules"]]
        for rule in made:
            alert = rule.get("alert", "")
            rule["expr"] = _hurried(alert, rule["expr"])
            if alert in PATIENT:
                rule["for"] = PATIENT[alert]
        groups.append({"name": group["name"], "rules": made})
    return {"groups": groups}


def _hurried(alert: str, expression: str) -> str:
    expression = re.sub(r"\[(\w+)\]", lambda found: f"[{WINDOWS[found[1]]}]", expression)
    expression = re.sub(r"offset (\w+)", lambda found: f"offset {WINDOWS[found[1]]}", expression)
    expression = WORKING_HOURS.sub("", expression).replace(LEAST_SERIES, "> 0")
    before, after = LIMITS.get(alert, ("", ""))
    assert before in expression, f"{alert} no longer holds {before}"
    return expression.replace(before, after) if before else expression


@dataclass
class Prometheus:
    """A server that looks each second."""

    process: Process
    url: str

    @classmethod
    def start(cls, folder: Path, target: str, login: tuple[str, Path] | None = None) -> Prometheus:
        """Start one that scrapes ``target``; ``login`` is a user and the file of the password."""
        folder.mkdir()
        shipped = yaml.safe_load(SHIPPED.read_text("utf-8"))
        (folder / "alerts.yml").write_text(yaml.safe_dump(hurried(shipped)))
        text = (SHIPPED.parent / "prometheus.yml").read_text("utf-8")
        if login is not None:
            text = re.sub(r"^(    )# (basic_auth:|  username:|  password_file:)", r"\1\2", text, flags=re.MULTILINE)
        configuration = yaml.safe_load(text)
        if login is not None:
            assert configuration["scrape_configs"][0]["basic_auth"].keys() == {"username", "password_file"}
            user, password_file = login
            configuration["scrape_configs"][0]["basic_auth"] = {"username": user, "password_file": str(password_file)}
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        port = free_port()
        command = [
            program("prometheus", "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{port}",
        ]
        process = Process.start("prometheus", command, folder / "prometheus.log")
        found = cls(process, f"http://{HOST}:{port}")
        try:
            process.ready(lambda: http_status(f"{found.url}/-/ready") == 200, 60)
        except AssertionError:
            process.stop()
            raise
        return found

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples that answer a query now."""
        content = self._get("/api/v1/query", query=expression)
        return list(content["data"]["result"])

    def firing(self) -> list[dict[str, Any]]:
        """Return the alerts that fire, with labels and annotations."""
        return [alert for alert in self._get("/api/v1/alerts")["data"]["alerts"] if alert["state"] == "firing"]

    def fires(self, name: str, /, **labels: str) -> bool:
        """Whether an alert with these labels fires."""
        return any({"alertname": name, **labels}.items() <= alert["labels"].items() for alert in self.firing())

    def _get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self.url}{path}?{urlencode(parameters)}", timeout=20) as answer:
            return json.loads(answer.read())


def panel_queries() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard with its panel's title, as Grafana would ask it about all nodes."""
    content = json.loads((SHIPPED.parent / "grafana" / "dashboard.json").read_text("utf-8"))
    for panel in content["panels"]:
        for target in panel.get("targets", ()):
            asked = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "5m")
            yield panel["title"], asked
