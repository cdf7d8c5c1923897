"""How fast instances are received, beside DCMTK's storescp: ``python -m benchmarks.receive --slices 400``.

Both receive the same slices on the same machine, one sender after the other and several at once. storescp does not
flush what it acknowledges, so it shows what the network and the sender alone take.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from sbnode.config import Config
from sbnode.scp.server import Receiver
from sbnode.service.process import leave_values_unjudged
from sbnode.spool import Spool
from sbnode.spool.durable import flush

HOST = "127.0.0.1"
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
_ABOUT = """`python -m benchmarks.receive --out benchmarks/results/receive.md`

CT slices of 512 x 512, split over the senders (DCMTK's storescu), on one machine with the senders. sbnode reads each
header, keeps a checksum, and answers when file and folder are flushed to the device; storescp flushes nothing. Both
with TCP_NODELAY. CPU s: of the receiver, its children included. "Files alone": as many threads as senders write the
same files, name them and flush file and folder, and nothing comes over a network: with storescp's time, what could be
reached at most."""
_IDLE_ASSOCIATIONS, _IDLE_S = 20, 10.0
_REAPED_S = 1.5
"""Until storescp has collected the processes of its associations."""


class Row(NamedTuple):
    """One line of the table."""

    receiver: str
    senders: int
    seconds: float
    instances: int
    megabytes: float
    cpu_seconds: float


def write_series(folder: Path, slices: int) -> int:
    """Write a CT series of noise, 512 x 512, and return its size in bytes."""
    folder.mkdir()
    series = generate_uid()
    study = generate_uid()
    generator = np.random.default_rng(1)
    for number in range(1, slices + 1):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{number:05d}.dcm"
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.Modality, dataset.PatientID, dataset.InstanceNumber = "CT", "BENCHMARK", number
        dataset.ImagePositionPatient = [0, 0, number]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [0.5, 0.5]
        dataset.Rows = dataset.Columns = 512
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.PixelData = generator.integers(-1000, 3000, (512, 512), np.int16).tobytes()
        dataset.save_as(path, enforce_file_format=True)
    return sum(path.stat().st_size for path in folder.iterdir())


def send(port: int, folders: list[Path]) -> float:
    """Send each folder with a storescu of its own, all at once; return how long the last one took."""
    started = time.perf_counter()
    options = ["--call", "SBNODE", "--max-pdu", "131072", HOST, str(port), "--scan-directories"]
    senders = [
        subprocess.Popen(["storescu", *options, str(folder)], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        for folder in folders
    ]
    if any(sender.wait() for sender in senders):
        raise SystemExit("storescu failed")
    return time.perf_counter() - started


@contextmanager
def sbnode(folder: Path) -> Iterator[tuple[int, int]]:
    """The Receiver in a process of its own; its port and process id."""
    command = [sys.executable, "-m", "benchmarks.receive", "--serve", str(folder), str(port := free_port())]
    process = subprocess.Popen(command)
    try:
        wait_for(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, int]]:
    """DCMTK's storescp with a process per association."""
    folder.mkdir()
    options = ["--fork", "--max-pdu", "131072", "-od", str(folder), str(port := free_port())]
    process = subprocess.Popen(["storescp", *options], env=ENVIRONMENT)
    try:
        wait_for(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def serve(folder: Path, port: int) -> None:
    """Receive until the process is ended."""
    config = Config.model_validate(
        {"node": {"host": HOST, "port": port}, "receive": {"calling_ae_titles": ["STORESCU"]}}
    )
    leave_values_unjudged()
    spool = Spool(folder, 0)
    Receiver(config, spool, lambda study, series: None).start()
    while True:
        time.sleep(1)


def cpu_seconds(process: int) -> float:
    """Return how long a process and its ended children have computed; other load changes that least."""
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens on ``port``."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nobody listens on port {port}")


def measure(slices: int, senders: tuple[int, ...], folder: Path) -> list[Row]:
    """Send ``slices`` slices in all, split over each number of senders, to both receivers."""
    receivers: dict[str, Callable[[Path], AbstractContextManager[tuple[int, int]]]] = {
        "sbnode": sbnode,
        "storescp --fork": storescp,
    }
    rows = []
    for count in senders:
        folders = [folder / f"sent-{count}-{index}" for index in range(count)]
        size = sum(write_series(one, slices // count) for one in folders)
        for name, receiver in receivers.items():
            with receiver(folder / f"{name.split()[0]}-{count}") as (port, process):
                before = cpu_seconds(process)
                seconds = send(port, folders)
                time.sleep(_REAPED_S)
                cpu = cpu_seconds(process) - before
            rows.append(Row(name, count, seconds, slices // count * count, size / 1e6, cpu))
        seconds, cpu = write_files(folders, folder / f"files-{count}")
        rows.append(Row("files alone", count, seconds, slices // count * count, size / 1e6, cpu))
    return rows


def write_files(folders: list[Path], target: Path) -> tuple[float, float]:
    """Copy the files of each folder into ``target``, flushing each and its name.

    Returns:
        How long that took, and how long it computed, in seconds.
    """
    names = target / "names"
    names.mkdir(parents=True)
    contents = [[path.read_bytes() for path in folder.iterdir()] for folder in folders]

    def write(sender: int) -> None:
        for number, content in enumerate(contents[sender]):
            unfinished = target / f"{sender}-{number}"
            with unfinished.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(unfinished, names / unfinished.name)
            flush(names)
            unfinished.unlink()

    started, before = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(folders)) as threads:
        list(threads.map(write, range(len(folders))))
    return time.perf_counter() - started, time.process_time() - before


def idle_cpu_seconds(associations: int, folder: Path) -> float:
    """Return how long the receiving process computes in ``_IDLE_S`` for associations on which nothing happens."""
    entity = AE("STORESCU")
    entity.add_requested_context(Verification)
    with sbnode(folder) as (port, process):
        open_ones = [entity.associate(HOST, port, ae_title="SBNODE") for _ in range(associations)]
        if not all(one.is_established for one in open_ones):
            raise SystemExit("an association was not accepted")
        before = cpu_seconds(process)
        time.sleep(_IDLE_S)
        found = cpu_seconds(process) - before
        for one in open_ones:
            one.release()
    return found


def report(rows: list[Row]) -> str:
    """Return the table as Markdown, with the machine and the date."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}",
        "",
        "| receiver | senders | instances | MB | s | instances/s | MB/s | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.receiver} | {row.senders} | {row.instances} | {row.megabytes:.0f} | {row.seconds:.2f} "
        f"| {row.instances / row.seconds:.0f} | {row.megabytes / row.seconds:.0f} | {row.cpu_seconds:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the measurement, or one receiver of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=400, help="slices in all, 0.5 MB each")
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "PORT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve[0]), int(arguments.serve[1]))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        table = report(measure(arguments.slices, tuple(arguments.senders), Path(folder)))
        idle = idle_cpu_seconds(_IDLE_ASSOCIATIONS, Path(folder) / "idle")
    table += f"\n\n{_IDLE_ASSOCIATIONS} idle associations take sbnode {idle:.2f} CPU s in {_IDLE_S:.0f} s."
    print(table)
    if arguments.out:
        arguments.out.write_text(f"# Receiving, beside storescp\n\n{_ABOUT}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
