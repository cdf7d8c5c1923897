"""The node with the pipeline of `fake_node`, which takes no time, and an archive that says what it will."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from sbnode.config import load_config
from sbnode.jobs.client import Item, JobClient
from sbnode.spool import Spool
from tests.conftest import REPOSITORY
from tests.integration.peers import PATIENCE_S, free_port, listens, program, wait_until
from tests.jobs.fakes import OBJECTS
from tests.scp.instances import ct_slice, files

MORTAL = (
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)
"""Marks of tests in which processes and connections die on purpose."""
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
        """Close the port, once."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()


class Node:
    """`sbnode serve` with the fake pipeline, in a process group of its own."""

    def __init__(
        self,
        folder: Path,
        destination_port: int,
        *,
        database: str | None = None,
        idle_s: float = 1,
        spool: Mapping[str, int] | None = None,
        others: Sequence[Mapping[str, Any]] = (),
        **law: float,
    ) -> None:
        self.folder = folder
        self.port, self.status_port = free_port(), free_port()
        self.config = folder / "config.yaml"
        content = {
            "node": {"host": "127.0.0.1", "port": self.port},
            "receive": {
                "calling_ae_titles": ["STORESCU"],
                "completion": {"idle_s": idle_s, "study_settle_s": 0.5},
            },
            "spool": {"path": "spool", **(spool or {"min_free_bytes": 0, "pause_free_bytes": 0})},
            "destinations": [
                {"ae_title": "PEER", "host": "127.0.0.1", "objects": list(OBJECTS), "timeout_s": 10, **one}
                for one in ({"name": "archive", "port": destination_port}, *others)
            ],
            "queue": {"url": database, "first_retry_s": 0.5, "longest_retry_s": 1, "attempts": 200, **law},
            "status": {"port": self.status_port},
        }
        self.config.write_text(yaml.safe_dump(content))
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> None:
        self._process = self._spawn(self.config, "serve", *options)
        wait_until(lambda: listens(self.port), START_S, "the node listens")

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Take over a receiving process that was started in another way."""
        self._process = process

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
        self._process.wait(PATIENCE_S)

    def kill_receiving_process(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)

    @property
    def pid(self) -> int:
        """Of the receiving process."""
        assert self._process is not None
        return self._process.pid

    @property
    def worker_pid(self) -> int:
        """Of the worker that the receiving process started."""
        (child,) = self.workers
        return child

    @property
    def workers(self) -> tuple[int, ...]:
        """The worker that the receiving process started, if it runs."""
        children: set[int] = set()
        for file in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with suppress(FileNotFoundError):  # a thread that has ended meanwhile
                children |= {int(pid) for pid in file.read_text().split()}
        return tuple(children)

    def kill_worker(self) -> None:
        os.kill(self.worker_pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Have the node read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def begin_to_terminate(self) -> None:
        """Send SIGTERM and don't wait."""
        assert self._process is not None
        self._process.terminate()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(START_S)

    def close(self) -> None:
        for process in (self._process, *self._workers):
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE_S)

    def send(self, study: str = "1.2.3", pixels: int = 16) -> None:
        """Send a study of 45 slices with storescu; fail unless each is acknowledged."""
        with tempfile.TemporaryDirectory() as folder:
            slices = [ct_slice(n, study=study, series=f"{study}.1", size=pixels) for n in range(1, 46)]
            paths = files(Path(folder), slices)
            command = [program("storescu", "dcmtk"), "-aet", "STORESCU", "-aec", "SBNODE", "127.0.0.1"]
            environment = {**os.environ, "TCP_NODELAY": "1"}
            subprocess.run([*command, str(self.port), *map(str, paths)], check=True, env=environment)

    def try_to_send(self, study: str = "1.2.3", slices: int = 45, pixels: int = 16) -> set[str]:
        """Send a study and return the SOP Instance UIDs that were acknowledged before the node broke off, if it did."""
        acknowledged = set()
        entity = AE(ae_title="STORESCU")
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", self.port, ae_title="SBNODE")
        for number in range(1, slices + 1):
            data_set = ct_slice(number, study=study, series=f"{study}.1", size=pixels)
            data_set.file_meta = FileMetaDataset()
            data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            answer = association.send_c_store(data_set) if association.is_established else Dataset()
            if "Status" not in answer:
                return acknowledged
            if answer.Status == 0x0000:
                acknowledged.add(str(data_set.SOPInstanceUID))
        association.release()
        return acknowledged

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of `sbnode` to its end."""
        line = [sys.executable, "-m", "sbnode.cli", *arguments, "--config", str(self.config)]
        return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=START_S, check=False)

    def log(self) -> str:
        """What the node's processes wrote."""
        return (self.folder / "node.log").read_text()

    @property
    def status_url(self) -> str:
        return f"http://127.0.0.1:{self.status_port}"

    def is_over(self) -> bool:
        """Whether the receiving process has ended."""
        assert self._process is not None
        return self._process.poll() is not None

    def items(self) -> list[Item]:
        settings = load_config(self.config)
        queue = JobClient(settings, Spool(settings.spool.path, 0))
        try:
            return queue.items()
        finally:
            queue.close()

    def retry(self, name: str) -> list[str]:
        settings = load_config(self.config)
        queue = JobClient(settings, Spool(settings.spool.path, 0))
        try:
            return queue.retry(name)
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
