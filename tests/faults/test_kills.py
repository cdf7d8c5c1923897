"""`kill -9` of either process between every two steps and inside each, with the queue in SQLite and in PostgreSQL.

Whatever the moment, every acknowledged instance is in the spool after the next start, and the archive gets one
complete set of results. `make faults` runs the whole matrix; by default each moment meets one of the two databases.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sbnode.service.working import ADOPTION_S
from tests.faults.receiving import stored
from tests.integration.killer import Moment
from tests.integration.peers import Postgres, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node

pytestmark = [*MORTAL, pytest.mark.timeout(600)]

SLICES = 45
IDLE_S = 3
"""After so long a series whose last slices weren't acknowledged on an association of this process is complete."""
PART_IDLE_S = 60
"""The same where a part came: long enough for the sender to come back before that counts as complete."""

RECEIVING = {
    "before an instance is written": Moment("serve", "before", "sbnode.spool.spool:Spool._write", 12),
    "with an empty temporary file": Moment("serve", "before", "sbnode.spool.record:Record.prefix", 12),
    "with an instance written under a temporary name": Moment("serve", "before", "os:link", 12),
    "with an instance named and its folder not flushed": Moment("serve", "after", "os:link", 12),
    "with an instance stored and not acknowledged": Moment("serve", "after", "sbnode.spool.spool:Spool.store", 12),
    "with the acknowledgement not sent yet": Moment("serve", "after", "sbnode.scp.handlers:Handlers.on_c_store", 12),
    "with the last instance acknowledged": Moment("serve", "after", "sbnode.scp.handlers:Handlers.on_c_store", SLICES),
    "with a complete study that isn't queued": Moment("serve", "before", "sbnode.jobs.client:JobClient.submit"),
    "before the manifest of a study": Moment("serve", "before", "sbnode.jobs.manifest:Manifest.write"),
    "after the manifest of a study": Moment("serve", "after", "sbnode.jobs.manifest:Manifest.write"),
    "with a study just queued": Moment("serve", "after", "sbnode.jobs.client:JobClient.submit"),
}
WORKING = {
    "before the choice": Moment("work", "before", "sbnode.jobs.steps:Steps.choose"),
    "before the manifest of a job": Moment("work", "before", "sbnode.jobs.manifest:Manifest.write"),
    "after the manifest of a job": Moment("work", "after", "sbnode.jobs.manifest:Manifest.write"),
    "with the choice made and not noted": Moment("work", "after", "sbnode.jobs.steps:Steps.choose"),
    "before a job is queued": Moment("work", "before", "dbos:DBOS.enqueue_workflow", 1),
    "with a job just queued": Moment("work", "after", "dbos:DBOS.enqueue_workflow", 1),
    "before processing": Moment("work", "before", "sbnode.jobs.steps:Steps.process"),
    "before the pipeline": Moment("work", "before", "sbnode.pipeline:run"),
    "with the results written and not flushed": Moment("work", "after", "sbnode.pipeline:run"),
    "with the results flushed and not named": Moment("work", "after", "sbnode.spool.spool:_flush_tree"),
    "with the results kept and not noted": Moment("work", "after", "sbnode.jobs.steps:Steps.process"),
    "before the deliveries are queued": Moment("work", "before", "dbos:DBOS.enqueue_workflow", 2),
    "with one of two deliveries queued": Moment("work", "before", "dbos:DBOS.enqueue_workflow", 3),
    "with both deliveries queued": Moment("work", "after", "dbos:DBOS.enqueue_workflow", 3),
    "before a delivery": Moment("work", "before", "sbnode.jobs.steps:Steps.deliver"),
    "before an object is sent": Moment("work", "before", "sbnode.jobs.steps:Steps._send_one"),
    "with an object accepted and not noted": Moment("work", "after", "sbnode.jobs.steps:Steps._send_one"),
    "with a delivery done and not noted": Moment("work", "after", "sbnode.jobs.steps:Steps.deliver"),
    "between two deliveries": Moment("work", "before", "sbnode.jobs.steps:Steps.deliver", 2),
    "with the last delivery done and not noted": Moment("work", "after", "sbnode.jobs.steps:Steps.deliver", 2),
}
SENT_TWICE = {
    "with an object accepted and not noted",
    "with a delivery done and not noted",
    "with the last delivery done and not noted",
}
"""The archive had accepted an object and the node couldn't know it: it gets that object again, with the same UID."""

DATABASES = ("sqlite", "postgresql")
CASES = [
    pytest.param(moment, database, id=f"{moment}-{database}", marks=() if number % 2 == which else pytest.mark.faults)
    for number, moment in enumerate((*RECEIVING, *WORKING))
    for which, database in enumerate(DATABASES)
]


@pytest.mark.parametrize(("moment", "database"), CASES)
def test_killed(
    moment: str,
    database: str,
    tmp_path: Path,
    archive: Archive,
    archive_port: int,
    postgres: Callable[[], str],
) -> None:
    chosen = (RECEIVING | WORKING)[moment]
    idle_s = PART_IDLE_S if moment in RECEIVING and 1 < chosen.nth < SLICES else IDLE_S
    node = Node(tmp_path, archive_port, database=postgres() if database == "postgresql" else None, idle_s=idle_s)
    chosen.set(tmp_path)
    try:
        node.start()
        acknowledged = node.try_to_send(slices=SLICES)
        if moment in RECEIVING:
            wait_until(node.is_over, START_S, "the receiving process died")
            assert acknowledged <= stored(tmp_path / "spool")
            node.start()
            if len(acknowledged) < SLICES:
                acknowledged |= node.try_to_send(slices=SLICES)
        assert len(acknowledged) == SLICES
        wait_until(lambda: len(archive.received) == 2, START_S, "both objects at the archive")
        wait_until(lambda: all(item.state == "done" for item in node.items()), START_S, "everything is done")
        time.sleep(1)  # for a third object to show itself
        assert Moment.is_over(tmp_path)
        assert sorted(archive.received.values()) == ([1, 2] if moment in SENT_TWICE else [1, 1])
        assert len(list((tmp_path / "spool" / "results").iterdir())) == 1
        assert "CANARY" not in node.log()
    finally:
        node.close()


def all_delivered(node: Node, archive: Archive, studies: int) -> None:
    wait_until(lambda: len(archive.received) == 2 * studies, START_S, "both objects of each study at the archive")
    wait_until(lambda: all(item.state == "done" for item in node.items()), START_S, "everything is done")
    assert set(archive.received.values()) == {1}


def test_a_frozen_worker_holds_up_no_other_one_and_does_no_harm_when_it_wakes_up(
    tmp_path: Path, archive: Archive, archive_port: int
) -> None:
    node = Node(tmp_path, archive_port)
    try:
        node.start("--no-worker")
        slow = node.will("slow", "300")
        frozen = node.start_worker("worker-a")
        node.try_to_send("1.2.3")
        wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
        frozen.send_signal(signal.SIGSTOP)
        slow.unlink()
        node.start_worker("worker-b")
        node.try_to_send("1.2.4")
        wait_until(lambda: len(archive.received) == 2, START_S, "both objects of the second study")
        time.sleep(ADOPTION_S + 1)  # the other worker looks for dead ones meanwhile
        frozen.send_signal(signal.SIGCONT)
        all_delivered(node, archive, 2)
        assert node.runs == 2
    finally:
        node.close()


def test_the_database_goes_away_and_comes_back(tmp_path: Path, archive: Archive, archive_port: int) -> None:
    """Reception goes on meanwhile, and what was in hand is taken up again without a restart by hand."""
    # PostgreSQL runs as another user, from whom each start of pytest closes its folders anew.
    open_folder = Path(tempfile.mkdtemp(prefix="sbnode-"))
    open_folder.chmod(0o755)
    server = Postgres.start(open_folder / "server")
    node = Node(tmp_path, archive_port, database=server.url("queue"))
    try:
        node.start()
        slow = node.will("slow", "300")
        assert len(node.try_to_send("1.2.3")) == SLICES
        wait_until(lambda: node.runs == 1, START_S, "the pipeline runs")
        server.stop()
        slow.unlink()
        assert len(node.try_to_send("1.2.4")) == SLICES
        time.sleep(8)
        assert not archive.received
        assert not node.is_over()
        page = httpx.get(f"{node.status_url}/", timeout=60)
        assert page.status_code == 200
        assert "The database of the queue doesn't answer." in page.text
        server.start_again()
        all_delivered(node, archive, 2)
        server.stop()
        assert len(node.try_to_send("1.2.5")) == SLICES
        time.sleep(5)  # the study is complete, and its place in the queue waited for
        assert node.terminate() == 0, "a stop doesn't wait for the database"
        server.start_again()
        node.start()
        all_delivered(node, archive, 3)
    finally:
        node.close()
        server.stop()
        shutil.rmtree(open_folder)
