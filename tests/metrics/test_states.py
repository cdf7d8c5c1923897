"""What a scrape says of the node's states, also when the queue can't be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import create_engine, text
from structlog.testing import capture_logs

from sbnode.errors import QueueUnavailable
from sbnode.jobs.client import JobClient
from sbnode.metrics import NodeState, QueueGroup
from sbnode.service.look import Look
from sbnode.spool import Spool
from tests.jobs.fakes import config, fill
from tests.metrics.states import STATE


def scrape(state: NodeState) -> list[str]:
    collectors = CollectorRegistry()
    collectors.register(state)
    return generate_latest(collectors).decode().splitlines()


def test_the_states_are_asked_for_at_each_scrape() -> None:
    lines = scrape(STATE)
    for line in (
        'sbnode_queue_depth{destination="",priority="none",stage="study",state="waiting"} 2.0',
        'sbnode_queue_depth{destination="",priority="high",stage="inference",state="running"} 1.0',
        'sbnode_queue_depth{destination="pacs",priority="normal",stage="delivery",state="waiting"} 0.0',
        'sbnode_queue_oldest_age_seconds{destination="",priority="none",stage="study"} 1.5',
        'sbnode_queue_oldest_age_seconds{destination="",priority="high",stage="inference"} 90.0',
        'sbnode_dead_letters{destination="pacs",stage="delivery"} 2.0',
        "sbnode_queue_up 1.0",
        "sbnode_disk_free_bytes 123.0",
        "sbnode_disk_size_bytes 456.0",
        "sbnode_disk_reserved_bytes 78.0",
        "sbnode_worker_up 1.0",
        "sbnode_open_series 7.0",
        "sbnode_objective_seconds 600.0",
        'sbnode_destination_up{destination="pacs"} 1.0',
        'sbnode_destination_up{destination="printer"} 0.0',
        f'sbnode_model_info{{name="skullbase",sha256="{"ab" * 32}",version="1.0"}} 1.0',
        f'sbnode_configuration_info{{sha256="{"cd" * 32}"}} 1.0',
    ):
        assert line in lines


def test_what_was_put_off_is_counted_and_has_no_age() -> None:
    lines = scrape(STATE)
    assert 'sbnode_queue_depth{destination="",priority="low",stage="inference",state="delayed"} 3.0' in lines
    assert 'sbnode_queue_oldest_age_seconds{destination="",priority="low",stage="inference"} 0.0' in lines


def test_groups_that_are_one_to_the_reader_are_added() -> None:
    """The queue groups by what stands in its rows, where no priority is written in two ways."""
    twice = tuple(QueueGroup(stage="inference", priority="high", state="waiting", count=count) for count in (3, 2))
    lines = scrape(replace(STATE, queue=lambda: twice))
    assert 'sbnode_queue_depth{destination="",priority="high",stage="inference",state="waiting"} 5.0' in lines


def test_without_the_database_all_else_is_there() -> None:
    lines = scrape(replace(STATE, queue=lambda: None))
    assert "sbnode_queue_up 0.0" in lines
    assert "sbnode_disk_free_bytes 123.0" in lines
    assert not [line for line in lines if line.startswith(("sbnode_queue_depth", "sbnode_dead_letters"))]


def test_a_look_waits_no_longer_than_its_patience_and_asks_no_second_time_meanwhile() -> None:
    release, asked = Event(), list[int]()

    def ask() -> tuple[QueueGroup, ...]:
        asked.append(1)
        release.wait(30)
        return ()

    look = Look(ask, 0.05)
    assert look() is None
    assert look() is None
    assert len(asked) == 1
    release.set()
    patient = Look(lambda: (), 30)
    assert patient() == ()


def test_a_look_that_fails_is_none_and_the_next_one_asks_again() -> None:
    answers: list[tuple[QueueGroup, ...] | None] = [None, ()]

    def ask() -> tuple[QueueGroup, ...]:
        answer = answers.pop(0)
        if answer is None:
            raise QueueUnavailable("the database of the queue doesn't answer")
        return answer

    look = Look(ask, 30)
    assert look() is None
    assert look() == ()


def test_a_look_that_fails_for_no_foreseen_reason_is_none_and_logged_without_its_message() -> None:
    def ask() -> int:
        raise ZeroDivisionError("CANARY^PATIENT")

    with capture_logs() as records:
        assert Look(ask, 30)() is None
    (record,) = records
    assert (record["event"], record["error"]) == ("look_failed", "ZeroDivisionError")
    assert "CANARY" not in str(record)


def test_the_database_counts_by_stage_destination_priority_and_state(tmp_path: Path) -> None:
    settings = config(tmp_path / "spool", 11113)
    spool = Spool(settings.spool.path, 0)
    queue = JobClient(settings, spool)
    for number in range(3):
        queue.submit(fill(spool, f"1.2.{number}", 2))
    engine = create_engine(f"sqlite:///{settings.spool.path / 'queue.sqlite'}")
    with engine.begin() as connection:
        began = (
            "UPDATE workflow_status SET started_at_epoch_ms = 5000, status = 'PENDING', name = 'process', priority = 1"
        )
        first = "(SELECT workflow_uuid FROM workflow_status ORDER BY workflow_uuid LIMIT 1)"
        connection.execute(text(f"{began}, queue_name = 'inference' WHERE workflow_uuid = {first}"))
        last = "(SELECT workflow_uuid FROM workflow_status ORDER BY workflow_uuid DESC LIMIT 1)"
        dead = "UPDATE workflow_status SET status = 'ERROR', name = 'deliver', queue_name = 'delivery.d0', priority = 3"
        connection.execute(text(f"{dead}, updated_at = 7000 WHERE workflow_uuid = {last}"))
    engine.dispose()
    found = {(g.stage, g.destination, g.priority, g.state): g for g in queue.census() if g.count}
    assert {key: group.count for key, group in found.items()} == {
        ("study", "", "none", "waiting"): 1,
        ("inference", "", "high", "running"): 1,
        ("delivery", "d0", "none", "dead"): 1,
    }
    assert found["inference", "", "high", "running"].first_at_s == 5.0
    assert found["delivery", "d0", "none", "dead"].last_at_s == 7.0
    empty = {(g.stage, g.destination, g.state) for g in queue.census() if not g.count}
    assert ("proof", "d0", "dead") in empty
    assert queue.queues()["inference"].depth == 1
    queue.close()


def test_a_database_that_is_gone_is_named_and_not_made_anew(tmp_path: Path) -> None:
    settings = config(tmp_path / "spool")
    queue = JobClient(settings, Spool(settings.spool.path, 0))
    queue.close()
    path = settings.spool.path / "queue.sqlite"
    for file in path.parent.glob("queue.sqlite*"):
        file.unlink()
    with pytest.raises(QueueUnavailable):
        queue.census()
    assert not path.exists()
    queue.close()
