"""What the status page is told: from a real spool, queue and worker, and with each of them gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from sbnode.audit import Audit
from sbnode.config import Config, Status
from sbnode.errors import QueueBusy, QueueUnavailable
from sbnode.jobs.lease import Lease
from sbnode.jobs.progress import ProgressFile
from sbnode.metrics import ModelFacts
from sbnode.scp.completion import OpenSeries
from sbnode.scp.watch import OnTheirWay
from sbnode.series import SeriesKey
from sbnode.service import overview as gathering
from sbnode.service.overview import Gatherer
from sbnode.status.access import Viewer
from sbnode.status.rendering import Renderer
from tests.integration.peers import PATIENCE_S, wait_until
from tests.jobs.conftest import Node, PeerFactory, node, peer, spool_path
from tests.jobs.fakes import config, fill, free_port

__all__ = ["node", "peer", "spool_path"]

NodeFactory = Callable[..., Node]
REPORT = {
    "slices": 50,
    "volume_ml": 228.3,
    "inferred_share": 0.01,
    "flags": [{"code": "metal", "message": "2.3 mL at 3000 HU and above"}],
    "seconds": {"read": 1.5, "inference": 60.5},
    "model": {"name": "skullbase", "version": "0.3.0"},
}
NOBODY = SimpleNamespace(callers={}, on_their_way=OnTheirWay())


def gatherer(
    running: Node, settings: Config | None = None, receiver: Any = NOBODY, audit: Path | None = None
) -> Gatherer:
    return Gatherer(
        settings or running.config,
        running.spool,
        running.queue,
        receiver,
        Audit(audit, "SBNODE"),
        dict,
        with_worker=True,
    )


def bundle(spool_path: Path) -> None:
    """Have the fake pipeline write a report and a picture too."""
    folder = spool_path.parent / "bundle"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(REPORT))
    (folder / "preview.png").write_bytes(b"picture")
    (folder / "surface.stl").write_bytes(b"surface")


def test_results_deliveries_and_dead_letters_are_told(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    ports = free_port(), free_port()
    peer(ports[0])
    bundle(spool_path)
    running = node(config(spool_path, *ports, attempts=2))
    running.queue.submit(fill(running.spool))
    running.settle(6)
    found = gatherer(running).overview()
    (result,) = found.results
    assert (result.slices, result.volume_ml, result.seconds, result.model) == (50, 228.3, 62.0, "skullbase 0.3.0")
    assert result.files == ("preview.png", "surface.stl", "seg.dcm")
    assert result.flags == (("metal", "2.3 mL at 3000 HU and above"),)
    assert [(s.destination, s.delivered, s.wanted, s.failed) for s in result.sent] == [("d0", 2, 2, 0), ("d1", 0, 2, 2)]
    assert result.patient is None
    queue = found.queue
    assert queue is not None
    assert [line.name for line in queue.lines] == ["study", "inference", "delivery.d0", "delivery.d1"]
    assert {(fault.state, fault.subject) for fault in queue.faults} == {
        ("dead letter", "Sending the Segmentation to d1"),
        ("dead letter", "Sending the surface to d1"),
    }
    assert all(fault.reason.startswith("given up after 2 attempts") for fault in queue.faults)
    states = {one.name: (one.state, one.dead, one.waiting) for one in queue.destinations}
    assert states == {"d0": ("delivers", 0, 0), "d1": ("fails", 2, 0)}
    assert "can't be reached" in queue.destinations[1].reason
    assert queue.destinations[0].last_delivery_s is not None


def test_a_destination_that_waits_for_its_next_attempt_fails_and_says_why(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path, free_port(), attempts=1000))
    running.queue.submit(fill(running.spool))
    failing: list[Any] = []

    def fails() -> bool:
        queue = gatherer(running).overview().queue
        assert queue is not None
        failing[:] = [one for one in queue.destinations if one.state == "fails"]
        return bool(failing)

    wait_until(fails, PATIENCE_S, "the destination fails")
    assert "can't be reached" in failing[0].reason
    assert (failing[0].dead, failing[0].waiting) == (0, 2)


def test_a_rejected_study_is_told_and_a_retry_starts_it_and_is_recorded(
    node: NodeFactory, spool_path: Path, tmp_path: Path
) -> None:
    spool_path.mkdir()
    (spool_path.parent / "refuse").touch()
    running = node(config(spool_path))
    running.queue.submit(fill(running.spool))
    running.settle(2)
    page = gatherer(running, audit=tmp_path / "audit.jsonl").source()
    queue = page.overview().queue
    assert queue is not None
    (fault,) = queue.faults
    assert (fault.state, fault.subject) == ("rejected", "Making the results of a job")
    assert "no skull base" in fault.reason
    (spool_path.parent / "refuse").unlink()
    assert page.retry(fault.id, "radiology", "192.0.2.1") == 1
    assert running.settle(2)["process"] == "done"
    assert page.retry(fault.id, "radiology", "192.0.2.1") == 0
    page.exported("", "127.0.0.1", fault.id)
    retried, exported = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [record["ParticipantObject"][0]["ParticipantObjectID"] for record in (retried, exported)] == ["1.2.3"] * 2
    assert retried["ActiveParticipant"][1]["UserID"] == "radiology"
    assert exported["ActiveParticipant"][0]["UserID"] == "somebody on this machine"


def test_what_is_dismissed_is_no_trouble_and_a_retry_takes_it_back(
    node: NodeFactory, peer: PeerFactory, spool_path: Path, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    peer(ports[0])
    bundle(spool_path)
    running = node(config(spool_path, *ports, attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(6)
    page = gatherer(running, audit=tmp_path / "audit.jsonl").source()
    seg, stl = running.item("d1.seg"), running.item("d1.stl")
    for item in (seg, stl):
        assert page.dismiss(item.id, "not_taken", "radiology", "192.0.2.1") == 1
        assert page.dismiss(item.id, "test", "radiology", "192.0.2.1") == 0
    assert page.dismiss(seg.job, "test", "radiology", "192.0.2.1") == 0, "the job itself is done"
    found = page.overview()
    assert found.queue is not None
    assert found.queue.faults == ()
    assert {(fault.id, fault.state, fault.subject) for fault in found.queue.dismissed} == {
        (stl.id, "dismissed", "Sending the surface to d1"),
        (seg.id, "dismissed", "Sending the Segmentation to d1"),
    }
    assert all(fault.reason.startswith("the destination won't take it (dead ") for fault in found.queue.dismissed)
    states = {one.name: (one.state, one.dead) for one in found.queue.destinations}
    assert states == {"d0": ("delivers", 0), "d1": ("nothing yet", 0)}
    sent = {one.destination: one for one in found.results[0].sent}
    assert (sent["d1"].failed, sent["d1"].dismissed, sent["d0"].dismissed) == (0, 2, 0)
    assert page.retry(seg.id, "radiology", "192.0.2.1") == 1
    assert running.settle(6)["d1.seg"] == "dead letter"
    records = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    objects = [record["ParticipantObject"][0] for record in records]
    assert [one["ParticipantObjectID"] for one in objects] == ["1.2.3"] * 3
    assert [one["ParticipantObjectDetail"][0]["value"] for one in objects] == [
        *["failed work dismissed: not_taken"] * 2,
        "failed work started again",
    ]


CANARIES = ("CANARY", "1.2.826.0.1.3680043.8.498.77", "1.2.826")
"""Name and ID of the patient of `tests.scp.instances`, and the study's UID."""


def test_nothing_of_the_patient_is_told_unless_it_is_asked_for(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    peer(port, refuse="stl")
    bundle(spool_path)
    running = node(config(spool_path, port))
    running.queue.submit(fill(running.spool, "1.2.826.0.1.3680043.8.498.77"))
    running.settle(4)
    key = SeriesKey("1.2.826.0.1.3680043.8.498.77", "1.2.826.0.1.3680043.8.498.77.1")
    receiver = SimpleNamespace(callers={"CT1": 1}, on_their_way=OnTheirWay((OpenSeries(key, 3, 0.0, None),), 0))
    radiology = Viewer("radiology", "127.0.0.1", trusted=True)
    renderer = Renderer("1", {})
    html = renderer.page("page.html", gatherer(running, receiver=receiver).overview(), radiology, "token", "")
    assert "228 mL" in html
    assert "refuses" in html or "presentation context" in html
    assert [canary for canary in CANARIES if canary in html] == []
    status = Status(user="radiology", password_file=Path("password"), show_patient=True)
    asked = running.config.model_copy(update={"status": status})
    named = gatherer(running, asked, receiver).overview()
    assert named.results[0].patient == "CANARY, PATIENT"
    assert "CANARY, PATIENT" in renderer.page("page.html", named, radiology, "token", "")
    somebody = Viewer(None, "127.0.0.1", trusted=True)
    assert "CANARY" not in renderer.page("page.html", named, somebody, "token", "")


def test_what_a_live_worker_does_is_told_and_what_a_dead_one_left_is_not(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path))
    ProgressFile(spool_path, "worker-1").begin("a" * 32)("inference", 0.25)
    assert gatherer(running).overview().running == ()
    lease = Lease(spool_path, "worker-1")
    lease.announce([ModelFacts("skullbase", "0.3.0", "ab" * 32)])
    try:
        found = gatherer(running).overview()
    finally:
        lease.close()
    (job,) = found.running
    assert (job.worker, job.stage, job.share, job.step, job.steps) == ("worker-1", "inference", 0.25, 4, 10)
    assert found.workers == ("worker-1",)
    assert [model.name for model in found.models] == ["skullbase"]


def broken(*_: object, **__: object) -> Any:
    raise OperationalError("select", {}, Exception("gone"))


def test_without_the_queue_all_else_is_told(
    node: NodeFactory, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = node(config(spool_path))
    looking = gatherer(running)
    monkeypatch.setattr(running.queue, "queues", broken)
    monkeypatch.setattr(running.queue, "retry", broken)
    found = looking.overview()
    assert found.queue is None
    assert found.disk.total_bytes > found.disk.free_bytes > 0
    with pytest.raises(QueueUnavailable):
        looking.source().retry("a", "", "127.0.0.1")


def test_a_queue_that_never_answers_holds_nobody_up_for_long(
    node: NodeFactory, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_QUEUE_S", 0.1)
    monkeypatch.setattr(gathering, "_CHANGE_S", 0.1)
    monkeypatch.setattr(gathering, "_FRESH_S", 0.0)
    running = node(config(spool_path))
    back, asked, ask = threading.Event(), [0], running.queue.queues

    def hangs() -> Any:
        asked[0] += 1
        back.wait(PATIENCE_S)
        return ask()

    monkeypatch.setattr(running.queue, "queues", hangs)
    monkeypatch.setattr(running.queue, "retry", lambda item: back.wait(PATIENCE_S))
    looking = gatherer(running)
    assert looking.overview().queue is None
    wait_until(lambda: asked[0] > 0, PATIENCE_S, "the queue was asked")
    assert looking.overview().queue is None
    assert asked == [1]
    with pytest.raises(QueueUnavailable):
        looking.source().retry("a", "", "127.0.0.1")
    back.set()
    monkeypatch.setattr(gathering, "_QUEUE_S", 20.0)
    wait_until(lambda: looking.overview().queue is not None, PATIENCE_S, "the queue answers again")


def test_a_retry_that_the_queue_answers_late_is_done_once_and_recorded(
    node: NodeFactory, spool_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page said "not started", it was started nevertheless, and nobody was told."""
    monkeypatch.setattr(gathering, "_CHANGE_S", 0.1)
    running = node(config(spool_path))
    back, asked = threading.Event(), []

    def late(item: str) -> list[str]:
        asked.append(item)
        back.wait(PATIENCE_S)
        return [item]

    monkeypatch.setattr(running.queue, "retry", late)
    page = gatherer(running, audit=tmp_path / "audit.jsonl").source()
    with pytest.raises(QueueUnavailable):
        page.retry("a", "radiology", "192.0.2.1")
    for _ in range(2):
        with pytest.raises(QueueBusy, match="nothing was done"):
            page.retry("a", "radiology", "192.0.2.1")
    back.set()
    audit = tmp_path / "audit.jsonl"
    wait_until(lambda: audit.exists() and audit.read_text().endswith("\n"), PATIENCE_S, "it is recorded")
    assert asked == ["a"]
    assert len(audit.read_text().splitlines()) == 1


def test_of_two_people_at_once_the_second_waits_for_the_first(
    node: NodeFactory, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second was told that the database didn't answer, and that it would be done later; it never was."""
    running = node(config(spool_path))
    asked, back, waits = [], threading.Event(), threading.Event()

    def retry(item: str) -> list[str]:
        asked.append(item)
        assert item != "a" or back.wait(PATIENCE_S)
        return [item]

    class Watched(gathering.Answer[int]):
        def ends_within(self, timeout_s: float) -> bool:
            if threading.current_thread().name == "second":
                waits.set()
            return super().ends_within(timeout_s)

    monkeypatch.setattr(gathering, "Answer", Watched)
    monkeypatch.setattr(gathering, "_CHANGE_S", PATIENCE_S)
    monkeypatch.setattr(running.queue, "retry", retry)
    page, told = gatherer(running).source(), []
    first = threading.Thread(target=lambda: told.append(page.retry("a", "one", "192.0.2.1")), name="first")
    first.start()
    wait_until(lambda: asked == ["a"], PATIENCE_S, "the first is under way")
    second = threading.Thread(target=lambda: told.append(page.retry("b", "two", "192.0.2.2")), name="second")
    second.start()
    assert waits.wait(PATIENCE_S)
    assert asked == ["a"], "one at a time"
    back.set()
    for thread in (first, second):
        thread.join(PATIENCE_S)
    assert (asked, told) == (["a", "b"], [1, 1])


def test_a_retry_of_what_somebody_else_started_says_so(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path, free_port(), attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    seg = running.item("d0.seg")
    running.worker.drain(0)
    stale = running.queue.find(seg.id)
    running.queue.retry(seg.id)
    page = gatherer(running).source()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running.queue, "find", lambda prefix: stale)
        assert page.retry(seg.id, "radiology", "192.0.2.1") == 0


def test_an_unforeseen_error_is_raised_once_and_the_queue_asked_again(
    node: NodeFactory, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = node(config(spool_path))
    ask, failures = running.queue.queues, [RuntimeError("unforeseen")]
    monkeypatch.setattr(running.queue, "queues", lambda: (_ for _ in ()).throw(failures.pop()) if failures else ask())
    looking = gatherer(running)
    with pytest.raises(RuntimeError):
        looking.overview()
    assert looking.overview().queue is not None


def test_results_that_can_not_be_read_are_left_out(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path))
    for name, content in {"good": json.dumps(REPORT), "empty": "", "other": "[]", "no": "{}", "bad.key": "{}"}.items():
        folder = spool_path / "results" / name
        folder.mkdir()
        (folder / "result.json").write_text(content)
    (spool_path / "results" / "nothing").mkdir()
    assert [result.job for result in gatherer(running).overview().results] == ["good"]
