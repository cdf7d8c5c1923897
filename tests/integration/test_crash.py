"""`kill -9` at chosen moments: after the next start the result arrives, once at each destination.

The pipeline is a fake, so that the moments can be met; processes, sockets, spool and queue are real.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from pynetdicom import AE, evt

from sbnode.config import load_config
from sbnode.jobs.client import Item, JobClient
from sbnode.spool import Spool
from tests.conftest import REPOSITORY
from tests.integration.peers import free_port, listens, program, wait_until
from tests.jobs.fakes import OBJECTS
from tests.scp.instances import ct_slice, files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

START_S = 120
"""Long, because the machine may be busy; a start takes a few seconds."""


class Archive:
    """A receiving peer. ``answer`` decides on each object; by default it takes all."""

    def __init__(self, port: int) -> None:
        self.received: Counter[str] = Counter()
        self.asked = Event()
        self.answer: Callable[[str], int] = lambda sop_class: 0x0000
        entity = AE(ae_title="PEER")
        for sop_class in OBJECTS.values():
            entity.add_supported_context(sop_class)
        self._server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def _store(self, event: Any) -> int:
        self.asked.set()
        status = self.answer(event.request.AffectedSOPClassUID)
        if status == 0x0000:
            self.received[str(event.request.AffectedSOPInstanceUID)] += 1
        return status

    def close(self) -> None:
        assert self._server is not None
        self._server.shutdown()


class Node:
    """`sbnode serve` with the fake pipeline, in a process group of its own."""

    def __init__(self, folder: Path, destination_port: int, **law: float) -> None:
        self.folder = folder
        self.port, self.status_port = free_port(), free_port()
        self.config = folder / "config.yaml"
        content = {
            "node": {"host": "127.0.0.1", "port": self.port},
            "receive": {
                "calling_ae_titles": ["STORESCU"],
                "completion": {"idle_s": 1, "study_settle_s": 0.5},
            },
            "spool": {"path": "spool", "min_free_bytes": 0},
            "destinations": [
                {
                    "name": "archive",
                    "ae_title": "PEER",
                    "host": "127.0.0.1",
                    "port": destination_port,
                    "timeout_s": 10,
                }
            ],
            "queue": {"first_retry_s": 0.5, "longest_retry_s": 1, "attempts": 200, **law},
            "status": {"port": self.status_port},
        }
        self.config.write_text(yaml.safe_dump(content))
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> None:
        self._process = self._spawn(self.config, "serve", *options)
        wait_until(lambda: listens(self.port), START_S, "the node listens")

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker of its own, on the same spool."""
        content = yaml.safe_load(self.config.read_text())
        content["queue"]["worker"] = name
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(content))
        self._workers.append(self._spawn(config, "work"))
        return self._workers[-1]

    def _spawn(self, config: Path, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.integration.fake_node", *arguments, "--config", str(config)]
        with (self.folder / "node.log").open("ab") as log:
            return subprocess.Popen(command, cwd=REPOSITORY, stderr=log, stdout=log, start_new_session=True)

    def kill(self) -> None:
        """Kill the receiving process and the worker at one stroke."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def kill_receiving_process(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def kill_worker(self) -> None:
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task")
        (child,) = (pid for file in tasks.glob("*/children") for pid in file.read_text().split())
        os.kill(int(child), signal.SIGKILL)

    def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def close(self) -> None:
        for process in (self._process, *self._workers):
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    def send(self, study: str = "1.2.3") -> None:
        """Send a study of 45 slices with storescu."""
        folder = self.folder / study
        folder.mkdir()
        paths = files(folder, [ct_slice(n, study=study, series=f"{study}.1") for n in range(1, 46)])
        command = [program("storescu", "dcmtk"), "-aet", "STORESCU", "-aec", "SBNODE", "127.0.0.1"]
        subprocess.run([*command, str(self.port), *map(str, paths)], check=True)

    def items(self) -> list[Item]:
        settings = load_config(self.config)
        queue = JobClient(settings, Spool(settings.spool.path, 0))
        try:
            return queue.items()
        finally:
            queue.close()

    def is_done(self, suffix: str) -> bool:
        return any(item.id.endswith(suffix) and item.state == "done" for item in self.items())

    @property
    def runs(self) -> int:
        """How often the pipeline was started."""
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def will(self, what: str, content: str = "") -> Path:
        """Tell the fake pipeline how to behave."""
        path = self.folder / what
        path.write_text(content)
        return path


@pytest.fixture
def archive_port() -> int:
    return free_port()


@pytest.fixture
def archive(archive_port: int) -> Iterator[Archive]:
    made = Archive(archive_port)
    yield made
    made.close()


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
    log = (node.folder / "node.log").read_text()
    assert '"action": "stopped"' in log
    assert "CANARY" not in log
    assert "Traceback" not in log
