"""Shadow mode, and sending and doing again what ended: a worker in this process, real associations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from dbos import DBOS
from typer.testing import CliRunner

from sbnode.cli import app
from sbnode.config import Config, Rule, Threshold
from sbnode.jobs.client import JobClient
from sbnode.jobs.steps import Steps
from sbnode.metrics import DELIVERIES
from sbnode.spool import Spool
from tests.jobs.conftest import Node, PeerFactory
from tests.jobs.fakes import MODELS, Proofs, config, fake_run, fill, free_port

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NodeFactory = Callable[..., Node]


def shadow(settings: Config) -> Config:
    return settings.model_copy(update={"shadow": True})


def use(node: Node, settings: Config) -> None:
    """Let the steps of a running worker go by other settings, as after SIGHUP."""
    fresh = Steps(settings, node.spool, MODELS, fake_run)
    node.steps.__dict__.update({name: value for name, value in vars(fresh).items() if name != "_lock"})


def held(destination: str, kind: str) -> float:
    return float(DELIVERIES.labels(destination, kind, "held")._value.get())


def test_shadow_mode_makes_results_and_sends_nothing_until_they_are_released(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port, before = free_port(), held("d0", "seg")
    receiving = peer(port)
    running = node(shadow(config(spool_path, port)))
    running.queue.submit(fill(running.spool))
    states = running.settle(4)
    assert states == {"study": "done", "process": "done", "d0.seg": "held back", "d0.stl": "held back"}
    assert receiving.received == []
    assert (spool_path / "results" / running.item("process").id / "seg.dcm").exists()
    assert "shadow mode" in running.item("d0.seg").reason
    assert held("d0", "seg") == before + 1
    # A destination of which everything is held back isn't one that delivers again.
    assert not running.queue.delivers_since("d0", datetime.fromtimestamp(0, UTC))
    assert running.queue.last_delivery("d0") is None

    # A retry is for what went wrong; what is held back stays so.
    assert running.queue.retry(running.item("process").id) == []
    (seg,) = (item for item in running.queue.held() if item.id.endswith("seg"))
    job = seg.job
    assert running.queue.send(job, "d0", "seg") == f"{job}.d0.seg.sending-2"
    assert running.settle(4)["d0.seg.sending-2"] == "done"
    assert len(receiving.received) == 1
    assert running.queue.delivers_since("d0", datetime.fromtimestamp(0, UTC))
    assert running.queue.last_delivery("d0") == running.item("d0.seg.sending-2")
    assert [item.id for item in running.queue.held(job)] == [f"{job}.d0.stl"]


def test_what_waits_when_shadow_mode_begins_is_held_back_and_a_retry_goes_by_the_mode_of_then(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    settings = config(spool_path, port, attempts=1)
    running = node(settings)
    running.queue.submit(fill(running.spool))
    assert running.settle(4)["d0.seg"] == "dead letter"
    receiving = peer(port)
    use(running, shadow(settings))
    assert len(running.queue.retry_dead("d0")) == 2
    assert running.settle(4)["d0.seg"] == "held back"
    assert receiving.received == []
    use(running, settings)
    assert running.queue.retry_dead("d0") == []
    job = running.item("process").id
    for item in running.queue.held(job):
        running.queue.send(job, "d0", item.id.split(".")[2])
    assert running.settle(4) == {
        "study": "done",
        "process": "done",
        "d0.seg.sending-2": "done",
        "d0.stl.sending-2": "done",
    }
    assert len(receiving.received) == 2


def test_what_was_released_and_lost_is_sent_again_in_shadow_mode_too(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    proofs = Proofs("missing", "missing", "proven")
    running = node(shadow(config(spool_path, port, confirm="query")), find_proof=proofs)
    running.queue.submit(fill(running.spool))
    running.settle(4)
    job = running.item("process").id
    assert running.queue.send(job, "d0", "seg")
    # The study, the job, the object that stays, and two sendings with their questions.
    states = running.settle(3 + 2 + 2)
    assert states["d0.seg.sending-3"] == "done"
    assert states["d0.seg.proof-3-1"] == "dead letter"
    assert len(receiving.received) == 2
    assert running.queue.retry(job) == [f"{job}.d0.seg.sending-4"]
    states = running.settle(3 + 3 + 2)
    assert states.pop("d0.stl") == "held back"
    assert set(states.values()) == {"done"}
    assert len(receiving.received) == 3


def test_dead_letters_of_one_destination_are_started_again_and_others_stay(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    ports = free_port(), free_port()
    running = node(config(spool_path, *ports, attempts=1))
    running.queue.submit(fill(running.spool))
    running.settle(6)
    peers = [peer(port) for port in ports]
    assert len(running.queue.retry_dead("d1")) == 2
    states = running.settle(6)
    assert (states["d0.seg"], states["d1.seg"]) == ("dead letter", "done")
    assert len(running.queue.retry_dead()) == 2
    assert set(running.settle(6).values()) == {"done"}
    assert [len(one.received) for one in peers] == [2, 2]


def test_results_are_sent_again_as_the_same_objects_and_once_while_they_are_on_their_way(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    ports = free_port(), free_port()
    peers = [peer(port) for port in ports]
    rule = Rule(name="here", destinations=("d0",))
    running = node(config(spool_path, *ports).model_copy(update={"rules": (rule,)}))
    running.queue.submit(fill(running.spool))
    running.settle(4)
    (job,) = running.queue.jobs(running.item("study").id)
    first = [running.queue.send(job, "d0", "seg"), running.queue.send(job, "d1", "seg")]
    assert first == [f"{job}.d0.seg.sending-2", f"{job}.d1.seg"]
    assert set(running.settle(6).values()) == {"done"}
    assert len(peers[0].received) == 3
    assert len(set(peers[0].received)) == 2
    assert len(peers[1].received) == 1


def test_of_several_jobs_of_a_study_all_releases_the_one_it_names_now_and_says_what_is_left(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    settings = shadow(config(spool_path, port))
    running = node(settings)
    study = running.queue.submit(fill(running.spool))
    running.settle(4)
    (old,) = running.queue.jobs("")
    use(running, settings.model_copy(update={"threshold": Threshold(seed=0.5)}))
    running.queue.redo(study)
    running.settle(7)
    (new,) = set(running.queue.jobs("")) - {old}
    file = spool_path.parent / "config.yaml"
    destinations = [settings.destinations[0].model_dump(mode="json", exclude_none=True)]
    spool = {"path": str(spool_path), "min_free_bytes": 0}
    file.write_text(yaml.safe_dump({"spool": spool, "destinations": destinations}))
    released = CliRunner().invoke(app, ["jobs", "release", "--all", "--config", str(file)])
    assert released.exit_code == 0, released.output
    queued = [f"queued: {new}.d0.{kind}.sending-2" for kind in ("seg", "stl")]
    left = f"left: {old} (2 held back), for its study doesn't name it now; sbnode jobs release {old} sends it"
    assert released.output.splitlines() == [*queued, left]
    running.settle(7)
    assert len(receiving.received) == 2
    # Now it is all that is held back, and stays.
    again = CliRunner().invoke(app, ["jobs", "release", "--all", "--config", str(file)])
    assert again.output.splitlines() == [left]
    assert CliRunner().invoke(app, ["jobs", "release", old, "--config", str(file)]).exit_code == 0
    running.settle(7)
    assert len(set(receiving.received)) == 4


def test_the_job_of_a_study_is_what_the_one_it_named_was_handed_on_to(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path))
    running.queue.submit(fill(running.spool))
    running.settle(2)
    (first,) = running.queue.current_jobs()
    (spool_path / "results" / first).rename(spool_path.parent / "gone")
    use(running, running.config.model_copy(update={"threshold": Threshold(seed=0.5)}))
    DBOS.rewind_workflow(first, queue_name="inference", application_version="1")
    running.settle(3)
    (second,) = running.queue.current_jobs()
    assert running.queue.jobs("") == [second] != [first]


def test_a_study_that_gained_slices_names_the_job_of_all_of_them(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path))
    running.queue.submit(fill(running.spool))
    running.settle(2)
    before = running.queue.current_jobs()
    running.queue.submit(fill(running.spool, slices=51))
    running.settle(4)
    assert len(before) == len(running.queue.current_jobs()) == 1
    assert not before & running.queue.current_jobs()


def test_what_is_queued_is_not_sent_twice(spool_path: Path) -> None:
    queue = JobClient(config(spool_path, free_port()), Spool(spool_path, 0))
    sent = [queue.send("ab" * 16, "d0", "seg") for _ in range(2)]
    assert sent == ["ab" * 16 + ".d0.seg", None]
    assert [item.state for item in queue.items()] == ["queued"]
    queue.close()


def test_a_rule_without_destinations_keeps_the_results_and_says_so(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    rule = Rule(name="quiet", destinations=())
    running = node(config(spool_path, port).model_copy(update={"rules": (rule,)}))
    running.queue.submit(fill(running.spool))
    assert running.settle(2) == {"study": "done", "process": "done"}
    job = running.item("process")
    assert job.reason == "sent nowhere, the results are in the spool: rule quiet names none"
    assert (spool_path / "results" / job.id / "seg.dcm").exists()
    assert receiving.received == []


def test_a_finished_study_is_done_again_with_other_settings_and_left_with_the_same(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    port = free_port()
    receiving = peer(port)
    settings = config(spool_path, port)
    running = node(settings)
    study = running.queue.submit(fill(running.spool))
    running.settle(4)
    job = running.item("process").id
    assert running.queue.redo(job) == [study]
    running.settle(4)
    assert len(receiving.received) == 2
    assert (spool_path.parent / "runs").read_text() == "run\n"

    use(running, settings.model_copy(update={"threshold": Threshold(seed=0.5)}))
    assert running.queue.redo(study[:12]) == [study]
    running.settle(7)
    assert len(running.queue.jobs("")) == 2
    assert len(set(receiving.received)) == 4
    # Again and again: nothing more.
    running.queue.redo(study)
    running.settle(7)
    assert (spool_path.parent / "runs").read_text() == "run\n" * 2


@pytest.mark.parametrize(("fault", "state"), [("broken", "dead letter"), ("refuse", "rejected")])
def test_a_study_whose_job_ended_without_results_is_done_again(
    node: NodeFactory, peer: PeerFactory, spool_path: Path, fault: str, state: str
) -> None:
    port = free_port()
    receiving = peer(port)
    running = node(config(spool_path, port))
    (spool_path.parent / fault).touch()
    study = running.queue.submit(fill(running.spool))
    assert running.settle(2) == {"study": "done", "process": state}
    (spool_path.parent / fault).unlink()
    assert running.queue.redo(study) == [study]
    assert set(running.settle(4).values()) == {"done"}
    assert len(receiving.received) == 2


def test_a_dead_job_that_other_settings_replace_stays_dead(
    node: NodeFactory, peer: PeerFactory, spool_path: Path
) -> None:
    """It would give results of its own: two versions of one study."""
    port = free_port()
    receiving = peer(port)
    rule = Rule(name="here", region="skull_base")
    settings = config(spool_path, port).model_copy(update={"rules": (rule,)})
    running = node(settings)
    (spool_path.parent / "broken").touch()
    study = running.queue.submit(fill(running.spool))
    running.settle(2)
    (spool_path.parent / "broken").unlink()
    use(running, settings.model_copy(update={"rules": (rule.model_copy(update={"region": "all_bone"}),)}))
    assert running.queue.redo(study) == [study]
    states = [item.state for item in running.queue.items()] if running.settle(5) else []
    assert sorted(states) == ["dead letter", "done", "done", "done", "done"]
    assert len(receiving.received) == 2


def test_nothing_is_done_again_of_what_isn_t_known(node: NodeFactory, spool_path: Path) -> None:
    running = node(config(spool_path))
    assert running.queue.redo("nothing") == []
    assert running.queue.jobs("nothing") == []
