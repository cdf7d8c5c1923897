"""The receiving process as an operator runs it, what it holds, and whether it still serves."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom.association import Association

from sbnode.spool import Spool
from tests.integration.peers import HOST, Node
from tests.scp.conftest import associate
from tests.scp.instances import CANARY, ct_slice
from tests.scp.test_receiver import send_slice

CALLING = "TEST"
SECRETS = (CANARY, "CANARY")
SETTINGS: dict[str, Any] = {
    "calling_ae_titles": [CALLING],
    "max_instance_bytes": 4_000_000,
    "completion": {"idle_s": 1.0, "study_settle_s": 0.2},
}
MIB = 1024 * 1024
HELD_UP_S = 20
"""A sender who waits for silent or slow ones takes longer: those are closed after 30 s."""
_FOR_NOW = 2
"""Result "rejected-transient" of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


@dataclass(frozen=True)
class Vitals:
    """What a process holds."""

    resident_bytes: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Vitals:
        status = Path(f"/proc/{pid}/status").read_text()
        facts = dict(line.split(":", 1) for line in status.splitlines())
        resident = 1024 * int(facts["VmRSS"].split()[0])
        return cls(resident, len(os.listdir(f"/proc/{pid}/fd")), int(facts["Threads"]))

    def __str__(self) -> str:
        return f"{self.resident_bytes // MIB} MiB, {self.descriptors} descriptors, {self.threads} threads"


class Receiving:
    """A running ``sbnode serve --no-worker``."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._sent = 0

    @property
    def is_running(self) -> bool:
        return self.node.process is not None and self.node.process.popen.poll() is None

    @property
    def spool(self) -> Path:
        return Path(self.node.settings["spool"]["path"])

    @property
    def port(self) -> int:
        return self.node.port

    @property
    def log(self) -> str:
        assert self.node.process is not None
        return self.node.process.log.read_text(errors="replace")

    @property
    def vitals(self) -> Vitals:
        assert self.node.process is not None
        return Vitals.of(self.node.process.popen.pid)

    def require_alive(
        self, port: int | None = None, context: ssl.SSLContext | None = None, *, at_once: bool = False
    ) -> float:
        """Fail unless C-ECHO and a good instance are answered with success; return how many seconds it took.

        A sender that finds no place tries again; with ``at_once`` it must find one the first time.
        """
        assert self.is_running, f"the node ended:\n{self.log[-3000:]}"
        started = time.monotonic()
        tls = None if context is None else (context, HOST)
        association = self._associate(port or self.port, tls, 0 if at_once else HELD_UP_S)
        assert association.is_established, "a good sender was turned away"
        self._sent += 1
        try:
            assert association.send_c_echo().Status == 0x0000
            assert send_slice(association, ct_slice(self._sent, study="1.2.9", series="1.2.9.1")) == 0x0000
        finally:
            association.release()
        return time.monotonic() - started

    @staticmethod
    def _associate(port: int, tls: tuple[ssl.SSLContext, str] | None, patience_s: float) -> Association:
        """Try again while there is no place, as senders do: one that has just ended may still have its own."""
        end_s = time.monotonic() + patience_s
        while True:
            association = associate(port, calling=CALLING, tls_args=tls)
            if not found_no_place(association) or time.monotonic() > end_s:
                return association
            time.sleep(0.1)

    def require_clean(self) -> None:
        """Fail unless the log quotes nothing and the spool holds nothing but whole instances under their UIDs."""
        log = self.log
        assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
        assert not [secret for secret in SECRETS if secret in log]
        assert "thread_failed" not in log, [line for line in log.splitlines() if "thread_failed" in line][:5]
        require_whole(self.spool)


def found_no_place(association: Association) -> bool:
    """Whether an association was rejected for now, as when all places are taken."""
    return association.is_rejected and bool(association.acceptor.primitive.result == _FOR_NOW)


def require_whole(path: Path) -> None:
    """Fail unless every file of the spool is where it should be and what it says."""
    allowed = {"incoming", "results", "commitments", "jobs", "tmp", "workers", "metrics"}
    stray = [entry for entry in path.iterdir() if entry.name not in allowed and not entry.name.startswith("queue.sql")]
    assert stray == []
    spool = Spool(path, 0)
    listed = {i.path for study in spool.studies() for series in spool.series(study) for i in series.instances}
    for study in spool.studies():
        for series in spool.series(study):
            spool.verify(series)
    assert {entry for entry in (path / "incoming").rglob("*") if entry.is_file()} == listed


def stored(spool: Path) -> set[str]:
    """Return the SOP Instance UIDs of all that a spool has."""
    return {path.stem for path in (spool / "incoming").glob("*/*/*.dcm")}


@contextmanager
def receiving(folder: Path, **sections: Any) -> Iterator[Receiving]:
    """Start a receiving process with a spool in ``folder``; stop it at the end."""
    receive = {**SETTINGS, **sections.pop("receive", {})}
    node = Node.configure(folder, receive=receive, log={"format": "json"}, **sections)
    node.start("--no-worker")
    try:
        yield Receiving(node)
    finally:
        node.stop()
