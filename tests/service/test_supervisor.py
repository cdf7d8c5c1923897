"""That the worker is started again, whatever befell its supervisor meanwhile."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from sbnode import metrics
from sbnode.service import supervisor
from sbnode.service.supervisor import CONFIGURATION_EXIT, Supervisor

PATIENCE_S = 30
LIVES = "import sys; sys.stdin.read()"
"""A worker that ends as its standard input does."""


class Worker:
    """In place of the command: what each start of it comes to. ``None`` can't be started."""

    def __init__(self, *lives: str | None) -> None:
        self._lives = list(lives)
        self._start = subprocess.Popen
        self.lasting = Event()

    def __call__(self, _: list[str], **options: Any) -> subprocess.Popen[bytes]:
        code = self._lives.pop(0)
        if code is None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started = self._start([sys.executable, "-c", code], **options)
        if not self._lives:
            self.lasting.set()
        return started


@pytest.fixture
def supervise(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Worker], Supervisor]]:
    made: list[Supervisor] = []

    def start(worker: Worker) -> Supervisor:
        monkeypatch.setattr(subprocess, "Popen", worker)
        monkeypatch.setattr(supervisor, "FIRST_RESTART_S", 0.01)
        made.append(Supervisor(None, Event()))
        made[0].start()
        return made[0]

    yield start
    for one in made:
        one.stop(PATIENCE_S)


def faults(records: list[Any]) -> list[str]:
    return [record["error"] for record in records if record["event"] == "supervisor_failed"]


def test_a_worker_that_could_not_be_started_is_started_later(supervise: Callable[[Worker], Supervisor]) -> None:
    worker = Worker(None, None, LIVES)
    with capture_logs() as records:
        supervise(worker)
        assert worker.lasting.wait(PATIENCE_S)
    assert faults(records) == ["BlockingIOError"] * 2


def test_counters_that_can_not_be_added_up_keep_no_worker_from_its_start(
    supervise: Callable[[Worker], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise struct.error("unpack_from requires a buffer of at least 4 bytes")

    monkeypatch.setattr(metrics, "add_up_dead_processes", fail)
    worker = Worker("raise SystemExit(9)", LIVES)
    with capture_logs() as records:
        supervise(worker)
        assert worker.lasting.wait(PATIENCE_S)
    assert faults(records) == ["error"]


def test_a_configuration_that_no_worker_takes_stops_the_node_also_then(
    supervise: Callable[[Worker], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metrics, "add_up_dead_processes", fail)
    started = supervise(Worker(f"raise SystemExit({CONFIGURATION_EXIT})"))
    started._thread.join(PATIENCE_S)
    assert not started._thread.is_alive()
    assert started.fault is not None
