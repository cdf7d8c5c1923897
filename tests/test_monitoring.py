"""Rules, dashboard and try-out: each file fits the others, and promtool agrees."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from sbnode import metrics
from sbnode.config import load_config
from sbnode.metrics import CATALOGUE, STATES
from scripts import dashboard
from tests.conftest import REPOSITORY
from tests.integration.peers import program
from tests.metrics.states import STATE

MONITORING = REPOSITORY / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))
COMPOSE = yaml.safe_load((MONITORING / "docker-compose.yml").read_text("utf-8"))
ALL_RULES = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL_RULES if "alert" in rule]
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboard.json").read_text("utf-8"))
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
EXPORTED = {
    described.name + suffix for described in (*CATALOGUE, *STATES.values()) for suffix in SUFFIXES[described.kind]
}


def promtool(*arguments: str | Path, text: str | None = None) -> None:
    command = [program("promtool", "prometheus"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, input=text, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", MONITORING / "alerts.yml")
    promtool("check", "config", "--syntax-only", MONITORING / "prometheus.yml")


def test_names_and_units_of_what_is_exported_follow_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command that ran in this process earlier may have set the folder that processes share.
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    exported = generate_latest(metrics.registry(STATE)).decode()
    assert {described.name for described in CATALOGUE} <= set(re.findall(r"^# TYPE (\w+)", exported, re.MULTILINE))
    promtool("check", "metrics", text=exported)


@pytest.mark.parametrize("name", ["alerts.test.yml", "alerts.slow.test.yml"])
def test_the_rules_pass_their_unit_tests(name: str) -> None:
    promtool("test", "rules", MONITORING / name)


def test_every_alert_has_a_unit_test_in_which_it_fires() -> None:
    tests = "".join((MONITORING / name).read_text("utf-8") for name in ("alerts.test.yml", "alerts.slow.test.yml"))
    untested = {
        rule["alert"]
        for rule in ALERTS
        if not re.search(
            rf'alertname="{rule["alert"]}", alertstate="firing"\}}[^\n]*(exp_samples: \[\{{|\n.*\n.*value: 1)', tests
        )
    }
    assert untested == set()


def test_every_alert_has_its_section_in_the_runbook_and_the_other_way_round() -> None:
    sections = re.findall(r"^## (\w+)$", (REPOSITORY / "docs" / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert sections == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert {"summary", "description"} <= set(rule["annotations"])
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def named(expression: str) -> set[str]:
    """The metrics of sbnode in a query; recorded ones have a colon."""
    return {name for name in re.findall(r"[a-zA-Z_:][\w:]*", expression) if "sbnode_" in name}


def test_every_metric_in_a_rule_is_exported_or_recorded() -> None:
    recorded = {rule["record"] for rule in ALL_RULES if "record" in rule}
    used = set().union(*(named(rule["expr"]) for rule in ALL_RULES))
    assert used - EXPORTED - recorded == set()
    assert recorded <= used, "a rule that nobody uses"


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def test_the_dashboard_is_what_the_script_writes() -> None:
    written = (MONITORING / "grafana" / "dashboard.json").read_text("utf-8")
    assert written == dashboard.text(), "make dashboard"


def test_the_dashboard_asks_for_what_is_exported_from_the_data_source_that_is_chosen() -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["datasource"] == source
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert named(target["expr"]) <= EXPORTED
            assert '{instance=~"$instance"' in target["expr"] or "up{" in target["expr"]


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = set().union(*(named(target["expr"]) for panel in panels() for target in panel["targets"]))
    asked |= set().union(*(named(rule["expr"]) for rule in ALL_RULES))
    unseen = {d.name for d in (*CATALOGUE, *STATES.values()) if not any(name.startswith(d.name) for name in asked)}
    assert unseen == set()


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_what_the_try_out_mounts_is_there_and_its_ports_are_those_of_this_machine() -> None:
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (MONITORING / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert (MONITORING / COMPOSE["services"]["sbnode"]["build"]["context"] / "Dockerfile").exists()


def test_the_parts_of_the_try_out_know_each_other() -> None:
    node = load_config(MONITORING / "try-out" / "config.yaml")
    orthanc = json.loads((MONITORING / "try-out" / "orthanc.json").read_text("utf-8"))
    (destination,) = node.destinations
    assert (destination.host, destination.port, destination.ae_title) == ("orthanc", 4242, orthanc["DicomAet"])
    assert destination.host in COMPOSE["services"]
    assert orthanc["DicomAet"] in node.receive.allowed
    known = orthanc["DicomModalities"]["sbnode"]
    assert (known["AET"], known["Host"], known["Port"]) == (node.node.ae_title, "sbnode", node.node.port)
    prometheus = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"sbnode:{node.status.port}"]}]
    sources = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
