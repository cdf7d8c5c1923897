"""`kill -9` at chosen moments: after the next start the result arrives, once at each destination.

The pipeline is a fake, so that the moments can be met; processes, sockets, spool and queue are real.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.integration.peers import free_port, listens, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node
from tests.jobs.fakes import OBJECTS

pytestmark = [*MORTAL, pytest.mark.timeout(600)]


@pytest.fixture
def node(tmp_path: Path, archive_port: int) -> Iterator[Node]:
    made = Node(tmp_path, archive_port)
    made.start()
    yield made
    made.close()


def both_arrive(archive: Archive) -> None:
    wait_until(lambda: len(archive.received) == 2, START_S, "both objects at the archive")
    time.sleep(2)  # for a third one to show itself


def test_killed_before_the_study_was_complete(node: Node, archive: Archive) -> None:
    node.send()
    node.kill()
    node.start()
    both_arrive(archive)
    assert set(archive.received.values()) == {1}


def test_killed_while_processing(node: Node, archive: Archive) -> None:
    slow = node.will("slow", "300")
    node.send()
    wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
    node.kill()
    slow.unlink()
    assert archive.received == {}
    node.start()
    both_arrive(archive)
    assert set(archive.received.values()) == {1}
    assert node.runs == 2


def test_killed_while_sending(node: Node, archive: Archive) -> None:
    """The archive may get that one object twice: with the same UID, so that it has it once."""
    released = Event()

    def hold(_: str) -> int:
        released.wait(30)
        return 0x0000

    archive.answer = hold
    node.send()
    wait_until(archive.asked.is_set, START_S, "an object is being sent")
    node.kill()
    archive.answer = lambda _: 0x0000
    released.set()
    node.start()
    both_arrive(archive)
    assert sorted(archive.received.values()) in ([1, 1], [1, 2])
    assert node.runs == 1


def test_killed_between_two_objects_sends_only_the_second(node: Node, archive: Archive) -> None:
    archive.answer = lambda sop_class: 0x0000 if sop_class == OBJECTS["seg"] else 0xA700
    node.send()
    wait_until(lambda: node.is_done(".archive.seg"), START_S, "the first object is delivered")
    node.kill()
    archive.answer = lambda _: 0x0000
    node.start()
    both_arrive(archive)
    assert set(archive.received.values()) == {1}
    assert node.runs == 1


def test_the_worker_alone_is_killed_and_started_again(node: Node, archive: Archive) -> None:
    slow = node.will("slow", "300")
    node.send()
    wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
    node.kill_worker()
    slow.unlink()
    assert listens(node.port)
    both_arrive(archive)
    assert set(archive.received.values()) == {1}


def test_the_receiving_process_alone_is_killed_and_the_step_is_finished_once(node: Node, archive: Archive) -> None:
    node.will("slow", "4")
    node.send()
    wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
    node.kill_receiving_process()
    node.start()
    both_arrive(archive)
    assert set(archive.received.values()) == {1}
    assert node.runs == 1


def test_a_job_that_kills_its_worker_three_times_is_a_dead_letter_and_the_next_one_is_done(
    node: Node, archive: Archive
) -> None:
    poison = node.will("poison")
    node.send("1.2.3")
    wait_until(lambda: any(i.state == "dead letter" for i in node.items()), 3 * START_S, "a dead letter", 1.0)
    assert node.runs == 3
    assert [i.reason for i in node.items() if i.state == "dead letter"] == ["the worker died each time it tried"]
    poison.unlink()
    node.send("1.2.4")
    both_arrive(archive)
    # And what was given up is done after all, once that is asked for.
    (dead,) = [item.id for item in node.items() if item.reason == "the worker died each time it tried"]
    assert node.retry(dead) == [dead]
    wait_until(lambda: node.is_done(dead), START_S, "the job is done", 1.0)
    assert node.runs == 5


def test_another_worker_takes_over_what_a_dead_one_had_in_hand(
    tmp_path: Path, archive: Archive, archive_port: int
) -> None:
    node = Node(tmp_path, archive_port)
    try:
        node.start("--no-worker")
        slow = node.will("slow", "300")
        first = node.start_worker("worker-a")
        node.send()
        wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
        first.kill()
        first.wait(10)
        slow.unlink()
        node.start_worker("worker-b")
        both_arrive(archive)
        assert set(archive.received.values()) == {1}
        assert node.runs == 2
    finally:
        node.close()


def test_sigterm_ends_the_node_in_order_and_nothing_is_repeated(node: Node, archive: Archive) -> None:
    node.send()
    both_arrive(archive)
    assert node.terminate() == 0
    node.start()
    time.sleep(5)
    assert set(archive.received.values()) == {1}
    assert node.runs == 1
    log = node.log()
    assert '"action": "stopped"' in log
    assert "CANARY" not in log
    assert "Traceback" not in log


def actions(node: Node) -> list[dict[str, Any]]:
    """What the node has logged."""
    lines = (node.folder / "node.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def logged(node: Node, action: str, **facts: object) -> bool:
    return any(one["action"] == action and facts.items() <= one.items() for one in actions(node))


def edit(edited: Node, **sections: object) -> None:
    content = yaml.safe_load(edited.config.read_text())
    edited.config.write_text(yaml.safe_dump({**content, **sections}))


def test_a_worker_that_dies_while_the_configuration_is_being_edited_comes_back(node: Node, archive: Archive) -> None:
    slow = node.will("slow", "300")
    node.send()
    wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
    good = node.config.read_text()
    node.config.write_text("node: {prot: 1}\n")
    node.kill_worker()
    slow.unlink()
    both_arrive(archive)
    assert listens(node.port)
    node.config.write_text(good)


def test_a_second_node_on_the_spool_is_refused_and_changes_nothing(node: Node, archive: Archive) -> None:
    """Once, its configuration went to the first one's worker: out of shadow mode, for example."""
    in_force = node.folder / "spool" / "workers" / "config.yaml"
    before = in_force.read_text()
    content = yaml.safe_load(node.config.read_text())
    content["node"]["port"], content["status"]["port"] = free_port(), free_port()
    second = node.folder / "second.yaml"
    second.write_text(yaml.safe_dump({**content, "shadow": True}))
    command = [sys.executable, "-m", "sbnode.cli", "serve", "--config", str(second)]
    refused = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "another node receives into" in refused.stderr
    assert in_force.read_text() == before
    node.send()
    both_arrive(archive)


def test_a_reload_while_the_worker_is_just_starting_waits_for_it(node: Node) -> None:
    """By default SIGHUP ends a process that doesn't listen to it yet."""
    wait_until(lambda: logged(node, "working"), START_S, "the first worker works")
    first = node.worker_pid
    node.kill_worker()
    wait_until(lambda: node.workers not in ((), (first,)), START_S, "it is started again, and takes seconds to listen")
    worker = node.worker_pid
    edit(node, region="all_bone")
    node.hang_up()
    wait_until(lambda: logged(node, "configuration_reloaded"), START_S, "the node has passed it on")
    wait_until(lambda: node.log().count('"working"') >= 2, START_S, "the worker works")
    assert node.worker_pid == worker
    died = [line for line in node.log().splitlines() if "worker_died" in line]
    assert len(died) == 1, "the one that was killed"


def test_a_reload_lets_the_running_step_end_and_sends_to_new_destinations(node: Node, archive: Archive) -> None:
    node.will("slow", "4")
    node.send("1.2.3")
    wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
    port = free_port()
    other = Archive(port)
    try:
        edit(node, node={"host": "127.0.0.1", "port": free_port()}, region="vault")
        node.hang_up()
        wait_until(lambda: logged(node, "configuration_refused"), START_S, "the fault is logged")
        first = yaml.safe_load(node.config.read_text())["destinations"][0]
        rules = [{"name": "new", "when": {"StudyInstanceUID": "1.2.4"}, "destinations": ["other"]}]
        edit(node, region="all_bone", rules=rules, destinations=[first, {**first, "name": "other", "port": port}])
        node.hang_up()
        wait_until(lambda: logged(node, "configuration_needs_restart", key="node.port"), START_S, "that is said")
        wait_until(lambda: logged(node, "worker_begins_anew"), START_S, "the worker has begun anew")
        assert node.runs == 1
        assert not logged(node, "worker_died")
        both_arrive(archive)
        node.send("1.2.4")
        wait_until(lambda: len(other.received) >= 2, START_S, "both objects at the new destination")
        time.sleep(2)
        assert len(archive.received) == 2
        assert "1.2.4" not in (node.folder / "node.log").read_text()
        assert node.terminate() == 0
    finally:
        other.close()
