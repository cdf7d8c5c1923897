"""A node that runs is asked with both passwords, and what it doesn't take is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from sbnode.config import Config, Status
from sbnode.doctor.node import ask_node, examine_node
from sbnode.doctor.observation import Observation
from sbnode.status import StatusServer
from tests.integration.peers import free_port, listens, wait_until

PASSWORDS = {"people": "gei\u00dfbock", "monitor": "w\u00e4chter"}


def settings(folder: Path) -> Config:
    for name, password in PASSWORDS.items():
        (folder / name).write_text(password, encoding="utf-8")
    status = {
        "port": free_port(),
        "user": "radiology",
        "password_file": folder / "people",
        "monitor_user": "prometheus",
        "monitor_password_file": folder / "monitor",
    }
    return Config(node={"port": free_port()}, status=status, spool={"path": folder})


@contextmanager
def running(status: Status) -> Iterator[None]:
    """The HTTP side of a node that was started with these passwords."""
    server = StatusServer(status, CollectorRegistry(), lambda: {"dicom": None})
    server.start()
    try:
        wait_until(lambda: listens(status.port), 10, "it answers")
        yield
    finally:
        server.stop()


def said(config: Config) -> list[Observation]:
    """What is said of the node's answers alone: nothing else of it runs here."""
    return [one for one in examine_node(config, ask_node(config)) if one.name == "node"]


def test_a_node_that_takes_both_passwords_is_ready(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with running(config.status):
        assert [(one.level, one.seen) for one in said(config)] == [("ok", "it runs and is ready")]


@pytest.mark.parametrize(("changed", "key"), [("people", "password_file"), ("monitor", "monitor_password_file")])
def test_a_password_that_was_changed_since_the_start_is_said(tmp_path: Path, changed: str, key: str) -> None:
    config = settings(tmp_path)
    with running(config.status):
        (tmp_path / changed).write_bytes(b"\xef\xbb\xbfnew\n")
        found = [one for one in said(config) if one.level == "warn"]
    assert [one.seen for one in found] == [f"it runs, and the password in status.{key} isn't the one it has"]
    assert "restart" in found[0].remedy


def test_a_password_begun_by_a_byte_order_mark_is_the_same(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with running(config.status):
        for name, password in PASSWORDS.items():
            (tmp_path / name).write_text(password, encoding="utf-8-sig")
        assert [one.level for one in said(config)] == ["ok"]


@pytest.mark.parametrize(
    ("user", "key"), [("radiology", "status.password_file"), ("prometheus", "status.monitor_password_file")]
)
def test_a_node_that_takes_no_password_for_now_is_not_said_to_be_away(tmp_path: Path, user: str, key: str) -> None:
    config = settings(tmp_path)
    with running(config.status):
        for _ in range(10):
            httpx.get(f"http://127.0.0.1:{config.status.port}/readyz", auth=(user, "wrong"), trust_env=False)
        found = [one for one in said(config) if one.level == "warn"]
    assert [one.seen for one in found] == [
        f"it runs, and too many wrong passwords came from this machine to try that of {key}"
    ]


def test_a_password_that_can_not_be_read_keeps_nobody_from_asking_with_the_other(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with running(config.status):
        (tmp_path / "monitor").unlink()
        assert [(one.level, one.seen) for one in said(config)] == [("ok", "it runs and is ready")]
