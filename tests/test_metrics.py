"""The numbers: what is exposed, that processes share it, and that labels hold no UID."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sbnode import metrics
from sbnode.config import Status
from sbnode.errors import ConfigError
from sbnode.metrics import ModelFacts, NodeState, QueueState
from sbnode.status import StatusServer
from tests.integration.peers import free_port, listens, wait_until

REPOSITORY = Path(__file__).parents[1]
STATE = NodeState(
    free_bytes=lambda: 123,
    queues=lambda: {"study": QueueState(2, 1.5), "delivery.pacs": QueueState(0, 0.0)},
    worker_alive=lambda: True,
    models=lambda: [ModelFacts("skullbase", "1.0", "ab" * 32)],
)
COUNT = "from sbnode import metrics; metrics.SERIES_COMPLETED.labels('idle').inc({})"
READ = "from prometheus_client import generate_latest; from sbnode import metrics; "


def python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_states_are_asked_for_at_each_scrape() -> None:
    collectors = CollectorRegistry()
    collectors.register(STATE)
    text = generate_latest(collectors).decode()
    assert 'sbnode_queue_depth{queue="study"} 2.0' in text
    assert 'sbnode_queue_oldest_age_seconds{queue="study"} 1.5' in text
    assert "sbnode_disk_free_bytes 123.0" in text
    assert "sbnode_worker_up 1.0" in text
    assert f'sbnode_model_info{{name="skullbase",sha256="{"ab" * 32}",version="1.0"}} 1.0' in text


def test_processes_share_their_counters_and_the_dead_are_forgotten(tmp_path: Path) -> None:
    python(COUNT.format(2), tmp_path)
    python(COUNT.format(3), tmp_path)
    read = READ + "print(generate_latest(metrics.registry()).decode())"
    assert 'sbnode_series_completed_total{reason="idle"} 5.0' in python(read, tmp_path)
    after = python("from sbnode import metrics; metrics.forget_dead_processes(); " + read, tmp_path)
    assert "idle" not in after


def test_every_metric_is_described_in_the_operations_manual(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command that ran in this process earlier may have set the folder that processes share.
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    manual = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    text = generate_latest(metrics.registry(STATE)).decode()
    names = set(re.findall(r"^# TYPE (sbnode_\w+)", text, re.MULTILINE))
    assert len(names) >= 15
    missing = {name for name in names if f"`{name}`" not in manual and not name.endswith("_created")}
    assert missing == set()


@pytest.mark.parametrize(("fault", "code"), [(None, 200), ("no worker is ready", 503)])
def test_ready_says_what_is_missing(fault: str | None, code: int) -> None:
    checks = {"dicom": None, "worker": fault}
    settings = Status(port=free_port())
    server = StatusServer(settings, metrics.registry(STATE), lambda: checks)
    server.start()
    try:
        wait_until(lambda: listens(settings.port), 30, "the status server listens")
        assert get(settings.port, "/healthz") == (200, "ok\n")
        status, body = get(settings.port, "/readyz")
        assert status == code
        expected = {"ready": fault is None, "checks": {"dicom": "ok", "worker": fault or "ok"}}
        assert json.loads(body) == expected
        assert "sbnode_build_info" in get(settings.port, "/metrics")[1]
        with pytest.raises(ConfigError, match=rf"status\.port: 127\.0\.0\.1:{settings.port}"):
            StatusServer(settings, metrics.registry(STATE), lambda: checks)
    finally:
        server.stop()


def get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_with_a_user_all_but_healthz_asks_for_the_password(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("gei\u00dfbock\n", encoding="utf-8")
    settings = Status(port=free_port(), user="radiology", password_file=password)
    server = StatusServer(settings, metrics.registry(STATE), dict)
    server.start()
    try:
        wait_until(lambda: listens(settings.port), 30, "the status server listens")
        url = f"http://127.0.0.1:{settings.port}"
        assert httpx.get(f"{url}/healthz").status_code == 200
        for auth in (None, ("radiology", "wrong"), ("", ""), ("radiology", "")):
            refused = httpx.get(f"{url}/metrics", auth=auth)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"].startswith("Basic")
            assert "sbnode_" not in refused.text
        right = httpx.BasicAuth("radiology", "gei\u00dfbock")
        assert "sbnode_build_info" in httpx.get(f"{url}/metrics", auth=right).text
        assert httpx.get(f"{url}/readyz", auth=right).status_code == 200
    finally:
        server.stop()


def test_a_password_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    settings = Status(port=free_port(), user="radiology", password_file=tmp_path / "none")
    with pytest.raises(ConfigError, match=r"status\.password_file"):
        StatusServer(settings, metrics.registry(STATE), dict)
