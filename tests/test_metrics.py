"""What the status server answers, and to whom."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from sbnode import metrics
from sbnode.config import Status
from sbnode.errors import ConfigError
from sbnode.status import StatusServer
from tests.integration.peers import free_port, listens, wait_until
from tests.metrics.states import STATE


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
