"""The unit is one that systemd takes, is locked up, and starts, reloads and ends the node as it says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from pathlib import Path

import pytest

from sbnode.config import Config
from tests.conftest import REPOSITORY
from tests.integration.peers import program
from tests.integration.small_node import MORTAL, START_S, Node

pytestmark = [*MORTAL]

UNIT = REPOSITORY / "deploy" / "systemd" / "sbnode.service"
MOST_EXPOSED = 2.0
"""Of 10, by `systemd-analyze security`; what is left is the network and /proc."""


@pytest.fixture
def analyze() -> str:
    return program("systemd-analyze", "systemd")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there in place of the installed one."""
    copy = tmp_path / UNIT.name
    there = shutil.which("true")
    copy.write_text(UNIT.read_text().replace("/opt/sbnode/venv/bin/sbnode", str(there)))
    return copy


def verify(analyze: str, unit: Path) -> subprocess.CompletedProcess[str]:
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_takes_the_unit(analyze: str, unit: Path) -> None:
    finished = verify(analyze, unit)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_unit_with_a_fault_is_found(analyze: str, unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtektSystem=strict"))
    assert "ProtektSystem" in verify(analyze, unit).stderr


def test_the_unit_is_locked_up(analyze: str, unit: Path) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager", str(unit)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", finished.stdout)
    assert float(exposure) < MOST_EXPOSED


def settings(section: str = "Service") -> dict[str, str]:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return dict(parser[section])


def test_the_times_of_the_unit_are_those_of_the_node() -> None:
    assert float(settings()["TimeoutStopSec"]) == Config().node.drain_s + 10
    assert settings()["RestartPreventExitStatus"] == "2"
    assert settings("Unit")["StartLimitIntervalSec"] == "0", "a database that is up an hour later finds the node trying"
    command = settings()["ExecStart"].split()
    assert command == ["/opt/sbnode/venv/bin/sbnode", "serve", "--config", "/etc/sbnode/config.yaml"]


class Manager:
    """The end of the socket at which systemd listens."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(START_S)

    def close(self) -> None:
        self.socket.close()

    def next(self) -> dict[str, str]:
        lines = self.socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    path = tmp_path / "notify"
    monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", str(path))
    with closing(Manager(path)) as made:
        yield made


def test_the_manager_is_told_when_the_node_is_ready_and_when_it_ends(
    tmp_path: Path, manager: Manager, archive_port: int
) -> None:
    node = Node(tmp_path, archive_port)
    try:
        node.start()
        assert manager.next()["READY"] == "1"
        assert node.terminate() == 0
        assert manager.next()["STOPPING"] == "1"
    finally:
        node.close()
