"""What a study takes: `python -m benchmarks.sizing [FOLDER ...] --out benchmarks/results/sizing.md`.

For each folder with the DICOM files of a head CT, a node with its defaults is started on an empty spool, is sent the
study and sends its results to an archive on the same machine. Without a folder, the demo's simulated head is taken.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import pydicom
import yaml

from benchmarks.receive.__main__ import free_port, wait_for
from demo.archive import FILES, HOST, Archive, send
from sbnode.config import Config, load_config
from sbnode.doctor.machine import read_machine
from sbnode.doctor.processes import find_processes
from sbnode.jobs.client import JobClient
from sbnode.jobs.lease import live_workers
from sbnode.spool import Spool
from simulator.head import simulate_head, write_head

READY_S = 120.0
RESULT_S = 1800.0
SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; bytes and seconds."""

    name: str
    slices: int
    syntax: str
    incoming_bytes: int
    results_bytes: int
    queue_bytes: int
    receiving_s: float
    result_s: float
    receiving_peak_bytes: int
    worker_peak_bytes: int
    together_bytes: int
    """The most that all processes of the node held at one time."""


class Memory:
    """Looks again and again how much a process and its descendants hold: some of these live for seconds only."""

    def __init__(self, pid: int) -> None:
        self.most_bytes = 0
        self._pid = pid
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Return the most that was seen."""
        self._stop.set()
        self._thread.join()
        return self.most_bytes

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.most_bytes = max(self.most_bytes, sum(map(_resident_bytes, _family(self._pid))))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it ended meanwhile
            for child in file.read_text().split():
                yield from _family(int(child))


def _resident_bytes(pid: int) -> int:
    """What a process alone holds, and its share of what it shares (proc(5), smaps_rollup)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


@contextmanager
def node(config_file: Path) -> Iterator[int]:
    """`sbnode serve`, in a process of its own, whose id this is."""
    command = [sys.executable, "-m", "sbnode.cli", "serve", "--config", str(config_file)]
    with config_file.with_name("node.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(120)


def measure(name: str, files: list[Path], folder: Path) -> Row:
    """Send one study through a node in ``folder`` and read what it took."""
    archive = Archive("ARCHIVE", folder)
    archive.start()
    try:
        config_file = _configure(folder, archive.port)
        config = load_config(config_file)
        with node(config_file) as pid:
            memory = Memory(pid)
            assert config.node.port is not None
            wait_for(config.node.port)
            _wait_for_worker(config)
            began = time.monotonic()
            slices = send(files, port=config.node.port, called="SBNODE", calling="SCANNER", patience_s=READY_S)
            sent = time.monotonic()
            if not archive.wait(FILES.values(), RESULT_S):
                raise SystemExit(f"{name}: no result came; the log is {folder / 'node.log'}")
            _wait_for_queue(config)
            done = time.monotonic()
            together = memory.stop()
            peaks = {process.role: process.peak_bytes or 0 for process in find_processes(config)}
    finally:
        archive.stop()
    spool = config.spool.path
    return Row(
        name=name,
        slices=slices,
        syntax=_syntax(files),
        incoming_bytes=_size(spool / "incoming"),
        results_bytes=_size(spool / "results"),
        queue_bytes=sum(path.stat().st_size for path in spool.glob("queue.sqlite*")),
        receiving_s=sent - began,
        result_s=done - sent,
        receiving_peak_bytes=peaks["receiving"],
        worker_peak_bytes=peaks["worker"],
        together_bytes=together,
    )


def table(rows: list[Row], load: float) -> str:
    """The page that is committed; ``load`` is what else the machine did."""
    machine = read_machine()
    lines = [
        "# Sizing",
        "",
        "What one study takes, by `python -m benchmarks.sizing`: a node with its defaults and an empty spool is sent",
        "the study and sends four kinds of objects to an archive on the same machine. Memory is the most that each",
        "of its two processes held (VmHWM), and the most that all its processes held at one time (Pss, seen every",
        f"{SAMPLE_S} s). Seconds are longer where the machine does other work too: its load is said below.",
        "",
        f"{machine.usable_cores} cores {platform.machine()} ({machine.processor}), "
        f"{(machine.memory_bytes or 0) / 1e9:.0f} GB, {datetime.now(UTC):%Y-%m-%d}. "
        f"Load average before the first study {load:.1f}, after the last {os.getloadavg()[0]:.1f}.",
        "",
        "| study | slices | as sent | incoming, MB | results, MB | queue, MB | to receive, s | to results, s "
        "| memory receiving, GB | memory worker, GB | memory together, GB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row.name,
            row.slices,
            row.syntax,
            *(f"{size / 1e6:.1f}" for size in (row.incoming_bytes, row.results_bytes, row.queue_bytes)),
            f"{row.receiving_s:.1f}",
            f"{row.result_s:.0f}",
            *(f"{size / 1e9:.2f}" for size in (row.receiving_peak_bytes, row.worker_peak_bytes, row.together_bytes)),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _configure(folder: Path, archive_port: int) -> Path:
    settings = {
        "node": {"host": HOST, "port": free_port()},
        "receive": {"calling_ae_titles": ["SCANNER"]},
        "spool": {"path": str(folder / "spool")},
        "destinations": [{"name": "archive", "ae_title": "ARCHIVE", "host": HOST, "port": archive_port}],
        "status": {"port": free_port()},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def _wait_for_worker(config: Config) -> None:
    ends = time.monotonic() + READY_S
    while not live_workers(config.spool.path):
        if time.monotonic() > ends:
            raise SystemExit("the worker doesn't become ready")
        time.sleep(0.2)


def _wait_for_queue(config: Config) -> None:
    """Until nothing waits or runs: the archive may have more of a class to come."""
    queue = JobClient(config, Spool(config.spool.path, 0))
    try:
        while any(state.depth for state in queue.queues().values()):
            time.sleep(0.2)
    finally:
        queue.close()


def _syntax(files: list[Path]) -> str:
    return str(pydicom.filereader.read_file_meta_info(files[0]).TransferSyntaxUID.name)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure each study and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="the file that is written; default: standard output alone")
    options = parser.parse_args()
    rows, load = [], os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        studies = [(path.name, sorted(one for one in path.rglob("*") if one.is_file())) for path in options.folders]
        if not studies:
            studies = [("simulated head", write_head(Path(scratch) / "ct", simulate_head()))]
        for number, (name, files) in enumerate(studies):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            rows.append(measure(name, files, folder))
    page = table(rows, load)
    print(page)
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
