"""What is deleted when, and what never is; with a real queue, a fake pipeline and a clock that is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sbnode.audit import Audit
from sbnode.config import Config
from sbnode.service.retention import Retention
from tests.jobs.conftest import Node, PeerFactory
from tests.jobs.fakes import config, fill, free_port

DAY_S = 86400.0

NodeFactory = Callable[..., Node]

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def retaining(settings: Config, **retention: Any) -> Config:
    return settings.model_copy(update={"retention": settings.retention.model_copy(update=retention)})


def files(spool: Path) -> list[Path]:
    return [path for name in ("incoming", "results", "jobs") for path in (spool / name).rglob("*") if path.is_file()]


def test_a_study_that_is_done_goes_as_a_whole_and_may_come_again(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    running = node(config(spool_path, port))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    retention = Retention(running.config, running.spool, running.queue, Audit(None, "SBNODE"))
    assert retention.sweep(time.time() + 29 * DAY_S) == 0
    assert files(spool_path)
    assert retention.sweep(time.time() + 31 * DAY_S) == 1
    assert files(spool_path) == []
    assert running.queue.items() == []
    assert retention.sweep(time.time() + 31 * DAY_S) == 0
    # The same spool takes and processes it again.
    running.queue.submit(fill(running.spool))
    running.settle(4)
    assert len(receiving.received) == 4
    assert len(set(receiving.received)) == 2


def test_a_dead_letter_keeps_its_study_longer(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    port = free_port()
    peer(port, refuse="stl")
    running = node(retaining(config(spool_path, port), max_bytes=1))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    retention = Retention(running.config, running.spool, running.queue, Audit(None, "SBNODE"))
    assert retention.sweep(time.time() + 89 * DAY_S) == 0
    assert retention.sweep(time.time() + 91 * DAY_S) == 1


def test_what_is_open_or_unknown_to_the_queue_is_never_deleted(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path, free_port(), attempts=50, longest_retry_s=600, first_retry_s=600))
    running.queue.submit(fill(running.spool))
    fill(running.spool, study="1.2.4")  # still coming: no manifest
    retention = Retention(running.config, running.spool, running.queue, Audit(None, "SBNODE"))
    before = len(list((spool_path / "incoming").rglob("*.dcm")))
    assert retention.sweep(time.time() + 1000 * DAY_S) == 0
    assert len(list((spool_path / "incoming").rglob("*.dcm"))) == before


def test_the_oldest_go_until_the_spool_is_small_enough(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    port = free_port()
    peer(port)
    running = node(config(spool_path, port))
    for number, study in enumerate(("1.2.3", "1.2.4", "1.2.5")):
        running.queue.submit(fill(running.spool, study=study))
        running.settle(4 * (number + 1))
        time.sleep(0.05)
    used = running.spool.used_bytes()
    settings = retaining(running.config, max_bytes=used - 10)
    retention = Retention(settings, running.spool, running.queue, Audit(None, "SBNODE"))
    assert retention.sweep(time.time()) == 0, "an instance came within the last hour"
    assert retention.sweep(time.time() + DAY_S) == 1
    assert running.spool.studies() == ("1.2.4", "1.2.5")
    assert retention.sweep(time.time() + DAY_S) == 0


def test_a_late_slice_saves_its_study(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    port = free_port()
    peer(port)
    running = node(config(spool_path, port))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    retention = Retention(running.config, running.spool, running.queue, Audit(None, "SBNODE"))
    (study,) = retention._removable(time.time() + 31 * DAY_S)
    before = len(files(spool_path))
    time.sleep(0.05)
    fill(running.spool, slices=51)
    assert not retention._remove(study)
    assert len(files(spool_path)) == before + 1
