"""The queue with a worker in this process, a fake pipeline and real associations."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sbnode.config import Config
from sbnode.errors import DestinationRefused, DestinationUnavailable
from sbnode.jobs import queues
from sbnode.jobs.client import JobClient
from sbnode.jobs.proof import Answer
from sbnode.spool import Spool
from tests.integration.peers import PATIENCE_S, wait_until
from tests.jobs.conftest import Node, PeerFactory
from tests.jobs.fakes import Proofs, config, fill, free_port, store_series

# pynetdicom leaves closing the socket of a refused connection to the interpreter.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NodeFactory = Callable[..., Node]


def test_a_study_becomes_two_objects_at_each_destination_and_a_resend_becomes_nothing(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    ports = free_port(), free_port()
    peers = [peer(port) for port in ports]
    running = node(config(spool_path, *ports))
    study = fill(running.spool)
    first = running.queue.submit(study)
    assert running.queue.submit(study) == first
    states = running.settle(6)
    assert set(states.values()) == {"done"}
    assert set(states) == {"study", "process", "d0.seg", "d0.stl", "d1.seg", "d1.stl"}
    assert peers[0].received == peers[1].received
    assert len(set(peers[0].received)) == 2
    assert (spool_path.parent / "runs").read_text() == "run\n"
    assert all(queue.depth == 0 for queue in running.queue.queues().values())


def test_another_object_of_the_study_that_is_no_slice_of_the_series_makes_no_new_job(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    running = node(config(spool_path, port))
    fill(running.spool)
    running.queue.submit(running.spool.series("1.2.3"))
    running.settle(4)
    # The same study with a second, short series: another study id, the same choice, the same job key.
    store_series(running.spool, "1.2.3", "1.2.3.7", slices=2)
    running.queue.submit(running.spool.series("1.2.3"))
    running.settle(5)
    assert len(receiving.received) == 2


def test_a_refused_class_is_a_dead_letter_of_that_object_alone_and_can_be_sent_again(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    refusing = peer(port, refuse="stl")
    running = node(config(spool_path, port))
    running.queue.submit(fill(running.spool))
    states = running.settle(4)
    assert states == {"study": "done", "process": "done", "d0.seg": "done", "d0.stl": "dead letter"}
    assert "accepted no presentation context for Encapsulated STL" in running.item("d0.stl").reason
    refusing.close()
    accepting = peer(port)
    job = running.item("process").id
    assert running.queue.retry(job) == [running.item("d0.stl").id]
    running.settle(4)
    assert set(running.states().values()) == {"done"}
    assert len(accepting.received) == 1


def test_a_dead_destination_holds_up_no_other_one_and_gets_its_objects_when_it_is_back(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    dead, alive = free_port(), free_port()
    receiving = peer(alive)
    running = node(config(spool_path, dead, alive, attempts=50))
    running.queue.submit(fill(running.spool))
    wait_until(lambda: len(receiving.received) == 2, 60, "both objects at the destination that is up")
    assert running.states()["d0.seg"] in ("queued", "running")
    assert running.queue.queues()["delivery.d0"].depth == 2
    back = peer(dead)
    running.settle(6)
    assert sorted(back.received) == sorted(receiving.received)


def test_a_destination_that_stays_down_ends_as_a_dead_letter_that_says_so(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path, free_port(), attempts=2))
    running.queue.submit(fill(running.spool))
    assert running.settle(4)["d0.seg"] == "dead letter"
    reason = running.item("d0.seg").reason
    assert "given up after 2 attempts" in reason
    assert "can't be reached" in reason


def test_a_study_without_a_usable_series_is_rejected_with_the_reason_and_nothing_is_lost(
    node: NodeFactory, spool_path: Path
) -> None:
    running = node(config(spool_path, free_port()))
    running.queue.submit(fill(running.spool, slices=4))
    assert running.settle(1) == {"study": "rejected"}
    assert "4 slices" in running.item("study").reason
    assert len(running.spool.series("1.2.3")[0].instances) == 4


def test_a_scan_without_a_skull_base_is_rejected_at_once(node: NodeFactory, spool_path: Path) -> None:
    spool_path.mkdir()
    (spool_path.parent / "refuse").touch()
    running = node(config(spool_path, free_port()))
    running.queue.submit(fill(running.spool))
    assert running.settle(2)["process"] == "rejected"
    assert "no skull base" in running.item("process").reason
    assert (spool_path.parent / "runs").read_text() == "run\n"


def rejected(node: NodeFactory, port: int, spool_path: Path) -> tuple[Node, str]:
    """A node that rejected its one study and would take it now, and the id of the job."""
    spool_path.mkdir()
    (spool_path.parent / "refuse").touch()
    running = node(config(spool_path, port))
    running.queue.submit(fill(running.spool))
    assert running.settle(2)["process"] == "rejected"
    (spool_path.parent / "refuse").unlink()
    return running, running.item("process").id


def test_a_rejected_scan_can_be_tried_again(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    port = free_port()
    receiving = peer(port)
    running, job = rejected(node, port, spool_path)
    assert running.queue.retry(running.item("study").id) == [job]
    running.settle(4)
    assert len(receiving.received) == 2


def test_a_rejected_scan_is_tried_again_by_the_settings_of_now(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    running, old = rejected(node, port, spool_path)
    running.steps._config = running.config.model_copy(update={"region": "all_bone"})
    running.queue.retry(old)
    running.settle(5)
    assert len(receiving.received) == 2
    assert "settings or models changed" in next(item for item in running.queue.items() if item.id == old).reason
    assert not running.spool.result_folder(old).exists()


def test_settings_that_are_changed_and_changed_back_lose_no_job(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    running = node(config(spool_path, port))
    process, settings = running.steps.process, iter([{"region": "all_bone"}, {}])

    def process_by_the_settings_of_now(job_key: str) -> dict[str, str]:
        running.steps._config = running.config.model_copy(update=next(settings, {}))
        return process(job_key)

    running.steps.process = process_by_the_settings_of_now  # type: ignore[method-assign]
    running.queue.submit(fill(running.spool))
    running.settle(6)  # the study, the job, the other one, the job again, and its two deliveries
    assert len(receiving.received) == 2


def test_what_waits_for_a_destination_that_was_taken_out_is_a_dead_letter(node: NodeFactory, spool_path: Path) -> None:
    left = config(spool_path, free_port())
    client = JobClient(left, Spool(spool_path, 0))
    options: Any = {"workflow_name": "deliver", "workflow_id": "job.d0.seg", "app_version": queues.WORKFLOWS_VERSION}
    client._client.enqueue({**options, "queue_name": queues.delivery("d0")}, "job", "d0", "seg", 1)
    client.close()
    running = node(left.model_copy(update={"destinations": ()}))
    assert running.settle(1) == {"d0.seg": "dead letter"}
    assert "no longer in the configuration" in running.item("d0.seg").reason


def test_an_unexpected_error_is_a_dead_letter_without_its_message_and_can_be_tried_again(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    spool_path.mkdir()
    (spool_path.parent / "broken").touch()
    running = node(config(spool_path, port))
    running.queue.submit(fill(running.spool))
    assert running.settle(2)["process"] == "dead letter"
    reason = running.item("process").reason
    assert "ValueError at fakes.py" in reason
    assert "CANARY" not in reason
    (spool_path.parent / "broken").unlink()
    assert len(running.queue.retry(running.item("study").id[:14])) == 1
    running.settle(4)
    assert len(receiving.received) == 2


def test_the_database_of_the_queue_holds_no_patient_data_and_no_uid(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    peer(port, refuse="stl")
    running = node(config(spool_path, port))
    running.queue.submit(fill(running.spool, "1.2.826.0.1.3680043.8.498.77"))
    running.settle(4)
    dump = "\n".join(sqlite3.connect(spool_path / "queue.sqlite").iterdump())
    assert "deliver" in dump
    assert "CANARY" not in dump
    assert "1.2.826.0.1.3680043" not in dump


def test_a_delivery_is_proven_by_what_the_destination_says_later(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    proofs = Proofs("waiting", DestinationUnavailable("it is down"), "proven")
    running = node(config(spool_path, port, confirm="commitment", within_s=600), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    states = running.settle(2 + 2 + 2 * 3)
    assert set(states.values()) == {"done"}
    assert [running.item(f"d0.seg.proof-1-{n}").reason for n in (1, 3)] == ["waiting", "proven"]
    assert len(receiving.received) == 2
    assert not any(last for _, last in proofs.asked)


def test_what_a_destination_lost_is_sent_again_then_given_up_and_sent_once_more_by_a_retry(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    proofs = Proofs("missing", "missing", "missing", "proven")
    running = node(config(spool_path, port, confirm="query"), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    states = running.settle(2 + 2 * 3 + 2 * 3)
    assert len(receiving.received) == 2 * 3
    dead = {name for name, state in states.items() if state == "dead letter"}
    assert dead == {"d0.seg.proof-3-1", "d0.stl.proof-3-1"}
    assert "accepted it 3 times and doesn't hold it" in running.item("d0.seg.proof-3-1").reason
    job = running.item("process").id
    assert set(running.queue.retry(job)) == {f"{job}.d0.{kind}.sending-4" for kind in ("seg", "stl")}
    states = running.settle(2 + 2 * 4 + 2 * 3)
    assert set(states.values()) == {"done"}
    assert len(receiving.received) == 2 * 4


def test_what_a_destination_reports_is_said_where_people_look(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    busy = "did not commit to 1 of 1 instances: 0x0213 resource limitation"
    lost = "did not commit to 1 of 1 instances: 0x0112 no such object instance"
    proofs = Proofs(Answer("waiting", busy), *[Answer("missing", lost)] * 3)
    running = node(config(spool_path, port, confirm="commitment", within_s=600), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    running.settle(2 + 2 * 3 + 2 * 4)
    assert [running.item(f"d0.seg.proof-{name}").reason for name in ("1-1", "1-2", "2-1")] == [busy, lost, lost]
    assert running.item("d0.seg.proof-3-1").reason.endswith(f"doesn't hold it; {lost}")
    assert len(receiving.received) == 2 * 3


def test_what_a_destination_will_never_commit_to_is_a_dead_letter_at_once(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    proofs = Proofs(DestinationRefused("0x0122 referenced SOP class not supported"))
    running = node(config(spool_path, port, confirm="commitment", within_s=600), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    states = running.settle(2 + 2 + 2)
    assert {name for name, state in states.items() if state == "dead letter"} == {
        "d0.seg.proof-1-1",
        "d0.stl.proof-1-1",
    }
    assert running.item("d0.seg.proof-1-1").reason == "refused: 0x0122 referenced SOP class not supported"
    assert len(receiving.received) == 2


def test_time_is_up_for_what_is_only_waited_for(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    port = free_port()
    receiving = peer(port)
    proofs = Proofs("waiting")
    running = node(config(spool_path, port, confirm="commitment", within_s=0.1), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    # Asked at once, after 0.05 s and after 0.15 s; so three times.
    states = running.settle(2 + 2 * 3 + 2 * 3 * 3, timeout_s=60)
    assert {name for name, state in states.items() if state == "dead letter"} == {
        "d0.seg.proof-3-3",
        "d0.stl.proof-3-3",
    }
    assert len(receiving.received) == 2 * 3


def test_a_destination_that_can_never_be_asked_is_a_dead_letter_of_the_proof(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    proofs = Proofs(DestinationUnavailable("it is down"))
    running = node(config(spool_path, port, confirm="query", within_s=0.1), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    states = running.settle(2 + 2 + 2 * 3)
    assert states["d0.seg.proof-1-3"] == "dead letter"
    assert "could not be asked" in running.item("d0.seg.proof-1-3").reason
    assert len(receiving.received) == 2


def test_proofs_that_wait_end_when_nothing_is_to_be_proven_any_more(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    peer(port)
    running = node(config(spool_path, port, confirm="query", within_s=600), find_proof=Proofs("waiting"))
    running.queue.submit(fill(running.spool))
    wait_until(lambda: "d0.stl.proof-1-2" in running.states(), PATIENCE_S, "both are waited for")
    accepted = running.config.destinations[0].model_copy(update={"confirm": "accepted"})
    running.steps._destinations["d0"] = accepted
    wait_until(lambda: not {"queued", "running"} & set(running.states().values()), PATIENCE_S, "none is open")
    assert "dead letter" not in running.states().values()


def with_rules(settings: Config, *rules: dict[str, object]) -> Config:
    return Config.model_validate({**settings.model_dump(), "rules": rules})


def test_high_priority_goes_before_normal_and_this_before_low(node: NodeFactory, spool_path: Path) -> None:
    rules = [{"name": word, "when": {"StudyInstanceUID": uid}, "priority": word} for uid, word in PRIORITY_OF.items()]
    running = node(with_rules(config(spool_path), *rules))
    slow = spool_path.parent / "slow"
    slow.write_text("300")
    studies = {study: fill(running.spool, study) for study in ("1.2.3", *PRIORITY_OF)}
    running.queue.submit(studies["1.2.3"])
    wait_until(lambda: (spool_path.parent / "runs").exists(), PATIENCE_S, "the first one runs")
    jobs = {}
    for study, word in PRIORITY_OF.items():
        known = {item.id for item in running.queue.items()}
        running.queue.submit(studies[study])
        wait_until(lambda: running.queue.queues()["study"].depth == 0, PATIENCE_S, "its series is chosen")
        (jobs[word],) = (i.id for i in running.queue.items() if i.kind == "process" and i.id not in known)
    slow.unlink()
    running.settle(8)
    assert sorted(jobs, key=lambda word: made_ns(running, jobs[word])) == ["high", "normal", "low"]


def made_ns(running: Node, job_key: str) -> int:
    """When the results of a job were made."""
    return running.spool.result_folder(job_key).stat().st_ctime_ns


PRIORITY_OF = {"1.2.4": "low", "1.2.5": "normal", "1.2.6": "high"}


def test_a_job_that_is_put_off_is_done_in_its_hours_and_lets_others_pass(node: NodeFactory, spool_path: Path) -> None:
    rule = {"name": "research", "when": {"StudyInstanceUID": "1.2.4"}, "priority": "low"}
    settings = with_rules(config(spool_path, low_priority_hours="19:00-07:00"), rule)
    clock = iter([datetime(2026, 1, 1, 18, 59, 45)])  # once; then it is the hour
    running = node(settings, now=lambda: next(clock, datetime(2026, 1, 1, 19)))
    low, normal = fill(running.spool, "1.2.4"), fill(running.spool, "1.2.3")
    running.queue.submit(low)
    wait_until(lambda: any(".later-2" in item.id for item in running.queue.items()), PATIENCE_S, "it is put off")
    running.queue.submit(normal)
    running.settle(5, 60)
    items = {item.id: item for item in running.queue.items()}
    (later,) = (item for name, item in items.items() if name.endswith(".later-2"))
    (other,) = (i for i in items.values() if i.kind == "process" and i.job != later.job)
    assert made_ns(running, other.job) < made_ns(running, later.job)
    assert "19:00-07:00" in items[later.job].reason


def test_a_study_that_a_rule_leaves_alone_is_shown_so_and_taken_after_the_rule_has_gone(
    node: NodeFactory, spool_path: Path
) -> None:
    running = node(with_rules(config(spool_path), {"name": "nothing", "take": False}))
    running.queue.submit(fill(running.spool))
    assert running.settle(1) == {"study": "left alone"}
    running.steps._config = config(spool_path)
    assert running.queue.retry("study")
    assert running.settle(2) == {"study": "done", "process": "done"}


def test_the_queue_says_what_is_dead_and_whether_a_destination_delivers_again(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    running = node(config(spool_path, port, attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    letters = running.queue.dead_letters()
    assert [(one.destination, one.reason.startswith("given up after")) for one in letters] == [("d0", True)] * 2
    since = max(one.updated_at for one in letters)
    assert not running.queue.delivers_since("d0", since)
    peer(port)
    running.queue.retry(running.item("process").id)
    running.settle(4)
    assert running.queue.dead_letters() == []
    assert running.queue.delivers_since("d0", since)
