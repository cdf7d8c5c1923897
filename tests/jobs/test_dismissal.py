"""Dead letters that somebody puts away: a worker in this process, a destination that is down; SQLite and PostgreSQL."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from dbos import DBOSClient
from typer.testing import CliRunner

from sbnode.audit import Audit
from sbnode.cli import app
from sbnode.commands import dismissing
from sbnode.config import Config
from sbnode.doctor.backlog import examine_backlog, read_backlog
from sbnode.errors import DestinationRefused
from sbnode.jobs.client import JobClient
from sbnode.jobs.dismissal import REASONS, Reason, note
from sbnode.service import rescan
from sbnode.service.retention import Retention
from tests.integration.peers import Postgres
from tests.jobs.conftest import Node, PeerFactory
from tests.jobs.fakes import Proofs, config, fill, free_port

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NodeFactory = Callable[..., Node]
DAY_S = 86400.0
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # Not a folder of pytest, from which PostgreSQL's own user is kept.
    folder = Path(tempfile.mkdtemp(prefix="sbnode-"))
    folder.chmod(0o755)
    try:
        started = Postgres.start(folder / "postgres")
        yield started
        started.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.integration)])
def database(request: pytest.FixtureRequest) -> str | None:
    """The URL of the queue's database; None: the file in the spool."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("server").url(f"letters{next(_NUMBERS)}")
    return url


def dead_letters(queue: JobClient) -> int:
    """What `sbnode_dead_letters` counts."""
    return sum(group.count for group in queue.census() if group.state == "dead")


def run(settings: Config, *arguments: str) -> tuple[int, str]:
    file = settings.spool.path.parent / "config.yaml"
    content = {
        "spool": {"path": str(settings.spool.path), "min_free_bytes": 0},
        "queue": {"url": settings.queue.url},
        "audit": {"path": str(settings.spool.path.parent / "audit.jsonl")},
    }
    file.write_text(yaml.safe_dump(content))
    told = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*arguments, "--config", str(file)])
    return told.exit_code, told.output


def test_what_is_dismissed_calls_for_nobody_until_it_is_started_again(
    node: NodeFactory, peer: PeerFactory, spool_path: Path, database: str | None
) -> None:
    ports = free_port(), free_port()
    peer(ports[0])
    running = node(config(spool_path, *ports, attempts=1, url=database))
    running.queue.submit(fill(running.spool))
    running.settle(6)
    assert dead_letters(running.queue) == 2
    seg = running.item("d1.seg")

    # A note of an end that was another one says nothing.
    running.queue._client.update_workflow_attributes(seg.id, note(seg.ended_at_ms - 1, Reason.TEST))
    assert (running.item("d1.seg").state, dead_letters(running.queue)) == ("dead letter", 2)

    # One delivery.
    assert [item.id for item in running.queue.dismiss(running.queue.find(seg.id), Reason.NOT_NEEDED)] == [seg.id]
    assert dead_letters(running.queue) == 1
    assert [item.id for item in running.queue.dead_letters()] == [running.item("d1.stl").id]
    assert {item.state for item in running.queue.faults(10)} == {"dead letter", "dismissed"}
    assert running.item("d1.seg").reason == f"no longer needed (dead letter: {seg.reason})"
    assert running.queue.dismiss(running.queue.find(seg.id), Reason.TEST) == [], "twice changes nothing"
    assert "no longer needed" in running.item("d1.seg").reason

    # The rest of the job, which is none of what is done or dismissed.
    assert [item.id for item in running.queue.dismiss(running.queue.find(seg.job), Reason.TEST)] == [
        f"{seg.job}.d1.stl"
    ]
    assert dead_letters(running.queue) == 0
    states = running.states()
    assert (states["process"], states["d0.seg"], states["d1.stl"]) == ("done", "done", "dismissed")

    # Neither a restart nor a rescan brings it back, nor a retry of others.
    again = JobClient(running.config, running.spool)
    assert [study.fault for study in rescan(running.config, verify=True)] == [""]
    assert again.retry(seg.job) == again.retry_dead() == again.retry_dead("d1") == []
    assert running.settle(6) == states
    assert dead_letters(again) == 0
    again.close()

    # What is started again and fails again is a dead letter again, until it is delivered.
    assert running.queue.retry(seg.id) == [seg.id]
    assert running.settle(6)["d1.seg"] == "dead letter"
    assert dead_letters(running.queue) == 1
    receiving = peer(ports[1])
    assert set(running.queue.retry(seg.job, dismissed=True)) == {seg.id, f"{seg.job}.d1.stl"}
    assert set(running.settle(6).values()) == {"done"}
    assert len(receiving.received) == 2


UNPROVEN = DestinationRefused("0x0122 referenced SOP class not supported")


def test_a_proof_that_is_started_again_is_sent_under_a_number_that_is_free(
    node: NodeFactory, peer: PeerFactory, spool_path: Path, database: str | None
) -> None:
    port = free_port()
    receiving = peer(port)
    proofs = Proofs(UNPROVEN, "proven")
    running = node(config(spool_path, port, confirm="query", url=database), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    running.settle(2 + 2 + 2)
    proof = running.item("d0.seg.proof-1-1")
    assert proof.state == "dead letter"
    running.queue.dismiss([proof], Reason.TEST)
    # Sent again meanwhile, by a release that left the proof where it was.
    running.queue._enqueue_delivery(f"{proof.job}.d0.seg", 2)
    running.settle(2 + 2 + 2 + 2)
    assert running.queue.retry(proof.id) == [f"{proof.job}.d0.seg.sending-3"]
    states = running.settle(2 + 2 + 2 + 4 - 1)
    assert (states["d0.seg.sending-3"], states["d0.seg.proof-3-1"]) == ("done", "done")
    assert proof.id not in {item.id for item in running.queue.items()}
    assert len(receiving.received) == 2 + 2


def test_a_proof_stays_while_its_object_is_on_its_way_already(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    first = peer(port)
    running = node(
        config(spool_path, port, confirm="query", first_retry_s=600, longest_retry_s=600),
        find_proof=Proofs(UNPROVEN),
    )
    running.queue.submit(fill(running.spool))
    running.settle(2 + 2 + 2)
    proof = running.item("d0.seg.proof-1-1")
    first.close()
    running.queue._enqueue_delivery(f"{proof.job}.d0.seg", 2)
    assert running.queue.retry(proof.id) == []
    assert running.item("d0.seg.proof-1-1").state == "dead letter"
    code, told = run(running.config, "jobs", "retry", proof.id)
    assert code == 4
    assert "its object is on its way already" in told


def test_what_is_sent_again_by_hand_and_proven_is_no_longer_dismissed(
    node: NodeFactory, peer: PeerFactory, spool_path: Path, database: str | None
) -> None:
    port = free_port()
    peer(port)
    running = node(config(spool_path, port, confirm="query", url=database), find_proof=Proofs(UNPROVEN, "proven"))
    running.queue.submit(fill(running.spool))
    running.settle(2 + 2 + 2)
    job = running.item("process").id
    running.queue.dismiss([running.item("d0.seg.proof-1-1")], Reason.NOT_TAKEN)
    for kind in ("seg", "stl"):
        assert running.queue.send(job, "d0", kind) == f"{job}.d0.{kind}.sending-2"
    states = running.settle(2 + 2 + 2 * 2)
    assert set(states.values()) == {"done"}
    assert states["d0.seg.proof-2-1"] == "done"
    assert dead_letters(running.queue) == 0


def test_a_study_whose_dead_letters_are_dismissed_is_deleted_as_one_that_is_done(
    node: NodeFactory, peer: PeerFactory, spool_path: Path, database: str | None
) -> None:
    port = free_port()
    peer(port, refuse="stl")
    running = node(config(spool_path, port, url=database))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    retention = Retention(running.config, running.spool, running.queue, Audit(None, "SBNODE"))
    assert retention.sweep(time.time() + 31 * DAY_S) == 0
    running.queue.dismiss(running.queue.dead_letters(), Reason.NOT_TAKEN)
    assert retention.sweep(time.time() + 29 * DAY_S) == 0
    assert retention.sweep(time.time() + 31 * DAY_S) == 1
    assert running.queue.items() == []


def test_what_is_dismissed_is_as_old_as_its_dismissal(
    node: NodeFactory, peer: PeerFactory, spool_path: Path, database: str | None
) -> None:
    port = free_port()
    peer(port, refuse="stl")
    running = node(config(spool_path, port, url=database))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    old_s = time.time() - 80 * DAY_S
    for path in (spool_path / "incoming").rglob("*.dcm"):
        os.utime(path, (old_s, old_s))
    retention = Retention(running.config, running.spool, running.queue, Audit(None, "SBNODE"))
    (before,) = retention._removable(time.time())
    running.queue.dismiss(running.queue.dead_letters(), Reason.NOT_TAKEN)
    assert not retention._remove(before), "it was dismissed meanwhile"
    assert retention.sweep(time.time()) == 0
    full = running.config.retention.model_copy(update={"max_bytes": 1})
    small = Retention(
        running.config.model_copy(update={"retention": full}), running.spool, running.queue, Audit(None, "SBNODE")
    )
    assert small.sweep(time.time() + 0.9 * DAY_S) == 0, "nor for its size"
    assert retention.sweep(time.time() + 29 * DAY_S) == 0
    assert small.sweep(time.time() + 1.1 * DAY_S) == 1


def test_a_rejected_study_and_a_job_that_failed_are_dismissed_and_done_again_with_other_settings(
    node: NodeFactory, spool_path: Path
) -> None:
    spool_path.mkdir()
    (spool_path.parent / "refuse").touch()
    running = node(config(spool_path))
    study = running.queue.submit(fill(running.spool))
    assert running.settle(2)["process"] == "rejected"
    (job,) = running.queue.dismiss(running.queue.find(study), Reason.NOT_USABLE)
    assert (job.kind, job.state) == ("process", "rejected"), "as it was"
    assert running.item("process").reason.startswith("the study can't be used (rejected: ")
    (spool_path.parent / "refuse").unlink()
    (spool_path.parent / "broken").touch()
    # The worker itself starts it again, and it fails in another way.
    assert running.queue.retry(job.id) == [job.id]
    assert running.settle(2)["process"] == "dead letter"
    running.queue.dismiss(running.queue.dead_letters(), Reason.WRONG_STUDY)
    assert running.states()["process"] == "dismissed"
    assert running.queue.redo(study) == [study]
    assert running.settle(2)["process"] == "dead letter"
    assert dead_letters(running.queue) == 1


def test_the_command_line_dismisses_lists_and_takes_back(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path, free_port(), attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    seg, stl = running.item("d0.seg"), running.item("d0.stl")
    code, told = run(running.config, "jobs", "dismiss", seg.id, "--reason", "test")
    assert code == 0, told
    assert f"dismissed: {seg.id}" in told
    code, told = run(running.config, "jobs", "list", "--dismissed")
    assert seg.id in told
    assert stl.id not in told
    assert "a test (dead letter: given up after 1 attempts" in told
    code, told = run(running.config, "jobs", "list", "--dead")
    assert stl.id in told
    assert seg.id not in told
    found = read_backlog(running.config)
    assert [one.id for one in found.given_up] == [stl.id]
    assert "1 were given up" in [observation.seen for observation in examine_backlog(found)]
    assert run(running.config, "jobs", "dismiss", "--destination", "d0", "--reason", "not_needed")[0] == 0
    assert dead_letters(running.queue) == 0
    code, told = run(running.config, "jobs", "dismiss", seg.job, "--reason", "test")
    assert code == 4
    assert "nothing whose id begins with" in told
    code, told = run(running.config, "jobs", "retry", seg.job)
    assert code == 4
    assert "--dismissed" in told
    code, told = run(running.config, "jobs", "retry", seg.job, "--dismissed")
    assert code == 0, told
    assert {seg.id, stl.id} == {line.split(": ")[1] for line in told.splitlines() if line.startswith("queued again")}

    records = [json.loads(line) for line in (spool_path.parent / "audit.jsonl").read_text().splitlines()]
    details = [record["ParticipantObject"][0]["ParticipantObjectDetail"][0]["value"] for record in records]
    assert details == ["failed work dismissed: test", "failed work dismissed: not_needed"]
    assert {record["ActiveParticipant"][1]["UserID"] for record in records} == {getpass.getuser()}


def test_an_id_that_several_studies_have_dismisses_none_of_them(
    node: NodeFactory, spool_path: Path, database: str | None
) -> None:
    running = node(config(spool_path, free_port(), attempts=1, url=database))
    for number, uid in enumerate(("1.2.3", "1.2.4"), 1):
        running.queue.submit(fill(running.spool, uid))
        running.settle(4 * number)
    studies = sorted(item.id for item in running.queue.items() if item.kind == "study")
    for beginning in ("study-", ""):
        code, told = run(running.config, "jobs", "dismiss", beginning or "study-"[:3], "--reason", "test")
        assert code == 4
        assert f"2 studies or jobs have an id that begins with {beginning or 'stu'}: {', '.join(studies)}" in told
    assert dead_letters(running.queue) == 4
    code, told = run(running.config, "jobs", "dismiss", studies[0], "--reason", "test")
    assert code == 0, told
    assert told.count("dismissed: ") == 2, "the study's job is no other one"
    assert dead_letters(running.queue) == 2


@pytest.mark.parametrize("named", [("--destination", "d0"), ("--all-dead",)])
def test_what_was_dismissed_by_mistake_for_a_destination_is_started_again_by_one_command(
    node: NodeFactory, spool_path: Path, named: tuple[str, ...]
) -> None:
    running = node(config(spool_path, free_port(), free_port(), attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(6)
    assert run(running.config, "jobs", "dismiss", "--destination", "d0", "--reason", "test")[0] == 0
    running.queue.dismiss([running.item("d1.seg")], Reason.TEST)
    code, told = run(running.config, "jobs", "retry", *named, "--dismissed")
    assert code == 0, told
    assert told.count("queued again: ") == (2 if len(named) == 2 else 4)
    assert running.settle(6)["d1.seg"] == ("dismissed" if len(named) == 2 else "dead letter")


def test_what_somebody_else_did_meanwhile_is_not_reported_as_dismissed(
    node: NodeFactory, spool_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = node(config(spool_path, free_port(), attempts=1, url=database))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    other = JobClient(running.config, running.spool)
    found = running.queue.dead_letters()
    seg, stl = sorted(found, key=lambda item: item.id)

    # Before it is done: dismissed and started again by others.
    assert other.dismiss([seg], Reason.TEST) == [seg]
    assert running.queue.dismiss([seg], Reason.NOT_NEEDED) == []
    assert running.item("d0.seg").reason.startswith("a test")

    # In the moment in which it is done.
    update = running.queue._client.update_workflow_attributes

    def overtaken(name: str, *arguments: object, **options: bool) -> None:
        update(name, *arguments, **options)  # type: ignore[arg-type]
        update(name, note(stl.ended_at_ms, Reason.NOT_NEEDED), merge=True)

    monkeypatch.setattr(running.queue._client, "update_workflow_attributes", overtaken)
    assert running.queue.dismiss([stl], Reason.NOT_NEEDED) == []
    monkeypatch.undo()
    assert other.retry(stl.id) == [stl.id]
    running.settle(4)

    def started(name: str, *arguments: object, **options: bool) -> None:
        update(name, *arguments, **options)  # type: ignore[arg-type]
        other.retry(name)
        running.settle(4)

    (again,) = running.queue.dead_letters()
    monkeypatch.setattr(running.queue._client, "update_workflow_attributes", started)
    assert running.queue.dismiss([again], Reason.TEST) == []
    assert dead_letters(running.queue) == 1
    other.close()


def test_what_somebody_else_started_meanwhile_is_not_started_twice(
    node: NodeFactory, spool_path: Path, database: str | None
) -> None:
    running = node(config(spool_path, free_port(), attempts=1, url=database))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    running.queue.dismiss(running.queue.dead_letters(), Reason.TEST)
    items = [running.item("d0.seg"), running.item("d0.stl")]
    running.worker.drain(0)
    assert [running.queue._again(item) for item in items] == [[item.id] for item in items]
    assert [running.queue._again(item) for item in items] == [[], []]
    running.queue.forget([items[0].id])
    assert running.queue._again(items[0]) == []


def test_each_is_recorded_at_once(node: NodeFactory, spool_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = node(config(spool_path, free_port(), attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    update, left = DBOSClient.update_workflow_attributes, [True]

    def breaks(*arguments: Any, **options: Any) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        update(*arguments, **options)

    monkeypatch.setattr(DBOSClient, "update_workflow_attributes", breaks)
    assert run(running.config, "jobs", "dismiss", running.item("process").id, "--reason", "test")[0] != 0
    assert dead_letters(running.queue) == 1
    assert len((spool_path.parent / "audit.jsonl").read_text().splitlines()) == 1


def test_what_can_not_be_recorded_is_not_begun(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path, free_port(), attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    (spool_path.parent / "audit.jsonl").mkdir()
    code, told = run(running.config, "jobs", "dismiss", running.item("process").id, "--reason", "test")
    assert code == 2
    assert "audit.path: " in told
    assert "can't be written" in told
    assert dead_letters(running.queue) == 2


OTHER = pwd.getpwnam("nobody")


@pytest.mark.parametrize(
    ("root", "said", "person"),
    [
        (True, {"SUDO_USER": "nobody", "SUDO_UID": str(OTHER.pw_uid)}, "nobody"),
        (True, {"SUDO_USER": "nobody", "SUDO_UID": str(OTHER.pw_uid + 1)}, None),
        (True, {"SUDO_USER": "nobody"}, None),
        (True, {"SUDO_USER": "CANARY^PATIENT", "SUDO_UID": "0"}, None),
        (True, {}, None),
        (False, {"SUDO_USER": "nobody", "SUDO_UID": str(OTHER.pw_uid)}, None),
    ],
)
def test_only_what_sudo_says_of_who_called_it_is_believed(
    monkeypatch: pytest.MonkeyPatch, root: bool, said: dict[str, str], person: str | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    for name in ("SUDO_USER", "SUDO_UID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert dismissing._person() == (person or pwd.getpwuid(os.getuid()).pw_name)


@pytest.mark.parametrize(
    "arguments",
    [
        ("abc",),
        ("abc", "--reason", "CANARY^PATIENT"),
        ("--reason", "test"),
        ("abc", "--destination", "d0", "--reason", "test"),
    ],
)
def test_a_reason_is_one_of_a_few_words_and_something_is_named(spool_path: Path, arguments: tuple[str, ...]) -> None:
    code, told = run(config(spool_path), "jobs", "dismiss", *arguments)
    assert code == 2
    assert "Usage" in told


def test_every_reason_is_said_in_words() -> None:
    assert set(REASONS) == set(Reason)
    assert len(set(REASONS.values())) == len(REASONS)
