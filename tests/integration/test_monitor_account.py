"""A real Prometheus with the account of its own: it scrapes the node, and what it knows opens nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.peers import free_port, wait_until
from tests.integration.prometheus import Prometheus
from tests.integration.small_node import MORTAL, Node
from tests.integration.status_browser import PASSWORD as PEOPLES_PASSWORD
from tests.integration.status_browser import USER as PEOPLE
from tests.integration.status_browser import with_password

pytestmark = list(MORTAL)
USER, PASSWORD = "prometheus", "w\u00e4chter"


def refused_logins(node: Node) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in node.log().splitlines() if '"login_refused"' in line]
    return [line for line in lines if line["action"] == "login_refused"]


@pytest.mark.parametrize("right", [True, False])
def test_prometheus_scrapes_with_the_account_of_its_own(tmp_path: Path, right: bool) -> None:
    node = Node(tmp_path, free_port())
    with_password(node)
    (tmp_path / "monitor").write_text(f"{PASSWORD}\n", encoding="utf-8")
    content = yaml.safe_load(node.config.read_text())
    content["status"].update(monitor_user=USER, monitor_password_file="monitor")
    node.config.write_text(yaml.safe_dump(content))
    known = tmp_path / ("monitor" if right else "other")
    known.write_text(PASSWORD if right else "wrong", encoding="utf-8")
    prometheus: Prometheus | None = None
    node.start()
    try:
        prometheus = Prometheus.start(tmp_path / "prometheus", f"127.0.0.1:{node.status_port}", (USER, known))
        asked = prometheus

        def up() -> list[str]:
            return [sample["value"][1] for sample in asked.query('up{job="sbnode"}')]

        if right:
            wait_until(lambda: up() == ["1"], 60, "Prometheus reads the metrics")
            assert asked.query("sbnode_queue_up")
            assert "login_refused" not in node.log()
            login = httpx.BasicAuth(USER.encode(), PASSWORD.encode())
            with httpx.Client(base_url=node.status_url, auth=login, trust_env=False) as client:
                found = {
                    path: client.get(path).status_code for path in ("/readyz", "/", "/parts", "/results/a/seg.dcm")
                }
            assert found.pop("/readyz") in (200, 503)
            assert set(found.values()) == {403}
        else:
            wait_until(lambda: refused_logins(node) != [], 60, "a wrong password has come")
            wait_until(lambda: up() == ["0"], 60, "Prometheus notes that it got nothing")
            assert asked.query("sbnode_queue_up") == []
            assert {one["account"] for one in refused_logins(node)} == {"monitor"}
            # People at the same address aren't kept out by what it goes on trying.
            wait_until(lambda: len(refused_logins(node)) >= 10, 60, "the limit is reached")
            login = httpx.BasicAuth(PEOPLE.encode(), PEOPLES_PASSWORD.encode())
            with httpx.Client(base_url=node.status_url, auth=login, trust_env=False) as client:
                assert client.get("/").status_code == 200
        assert PASSWORD not in node.log()
    finally:
        if prometheus is not None:
            prometheus.process.stop()
        node.close()
