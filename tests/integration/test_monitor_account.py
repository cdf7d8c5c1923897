"""A real Prometheus with the account of its own: it scrapes the node, and what it knows opens nothing else."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml

from tests.integration.peers import free_port, wait_until
from tests.integration.prometheus import Prometheus
from tests.integration.small_node import MORTAL, Node
from tests.integration.status_browser import with_password

pytestmark = list(MORTAL)
USER, PASSWORD = "prometheus", "w\u00e4chter"


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

        wait_until(lambda: bool(up()), 60, "Prometheus has asked")
        assert up() == ["1" if right else "0"]
        assert bool(asked.query("sbnode_queue_up")) is right
        if right:
            login = httpx.BasicAuth(USER.encode(), PASSWORD.encode())
            with httpx.Client(base_url=node.status_url, auth=login, trust_env=False) as client:
                found = {
                    path: client.get(path).status_code for path in ("/readyz", "/", "/parts", "/results/a/seg.dcm")
                }
            assert found.pop("/readyz") in (200, 503)
            assert set(found.values()) == {403}
        assert PASSWORD not in node.log()
    finally:
        if prometheus is not None:
            prometheus.process.stop()
        node.close()
