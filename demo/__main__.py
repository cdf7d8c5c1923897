"""Start a node, send it a head CT, fetch what it returns, and say where it lies.

python -m demo [--ct FOLDER] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import yaml

from demo.archive import FILES, HOST, Archive, send
from demo.scoring import FIXED_HU, Score, read_segments, score
from sbnode.config import Config, load_config
from sbnode.errors import SbnodeError
from sbnode.jobs.client import RETRIED, JobClient
from sbnode.spool import Spool
from simulator.head import SimulatedHead, simulate_head, write_head

NODE, ARCHIVE, SCANNER = "SBNODE", "ARCHIVE", "SCANNER"
START_S = 120.0
"""The node opens its networks when it starts."""
RESULT_S = 1800.0
"""A slow machine may take this long for a scan of many slices."""
STOP_S = 60.0
POLL_S = 2.0


class ResultError(Exception):
    """The node says that there will be no result, and why."""


def main() -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--ct", type=Path, help="a folder with the DICOM files of a head CT; default: a simulated head")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where everything is written")
    options = parser.parse_args()
    out = options.out.resolve()
    shutil.rmtree(out / "node", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    head, files = _scan(options.ct, out)
    if not files:
        print(f"{options.ct} holds no DICOM file", file=sys.stderr)
        return 3
    archive = Archive(ARCHIVE, out)
    archive.start()
    try:
        seconds = _round_trip(files, archive, out)
    except (ConnectionError, TimeoutError, ResultError, SbnodeError) as error:
        print(f"{error}; the node's log is {out / 'node.log'}", file=sys.stderr)
        return 4
    finally:
        archive.stop()
    report = _fetch_results(out)
    _tell(out, report, seconds)
    if head is not None:
        _tell_scores(head, out)
    return 0


def _scan(folder: Path | None, out: Path) -> tuple[SimulatedHead | None, list[Path]]:
    """The files to send; and the simulated head, when it is one."""
    if folder is not None:
        return None, [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_dicom(path)]
    print("simulating a head CT (about half a minute) ...", flush=True)
    head = simulate_head()
    shutil.rmtree(out / "ct", ignore_errors=True)
    return head, write_head(out / "ct", head)


def _is_dicom(path: Path) -> bool:
    """Whether the file has the mark of PS3.10 section 7.1 and isn't a directory of a disc."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" and path.name != "DICOMDIR" and _is_image(path)


def _is_image(path: Path) -> bool:
    return "SOPInstanceUID" in pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])


def _round_trip(files: list[Path], archive: Archive, out: Path) -> float:
    """Send the scan, wait for the results, and return the seconds from the last slice to the last result."""
    port = _free_port()
    with _node(port, archive.port, out) as node:
        print(f"sending {len(files)} images to the node on port {port} ...", flush=True)
        send(files, port=port, called=NODE, calling=SCANNER, patience_s=START_S)
        sent = time.monotonic()
        print("waiting for SEG and STL ...", flush=True)
        _wait_for_results(archive, node, load_config(out / "config.yaml"), sent + RESULT_S)
        return time.monotonic() - sent


def _wait_for_results(archive: Archive, node: subprocess.Popen[bytes], config: Config, deadline: float) -> None:
    """Wait for all objects.

    Raises:
        ResultError: the node rejected the study, gave up or ended.
        TimeoutError: nothing came in time.
    """
    queue = JobClient(config, Spool(config.spool.path, config.spool.min_free_bytes))
    try:
        while not archive.wait(FILES.values(), POLL_S):
            for item in queue.items():
                if item.state in RETRIED:
                    raise ResultError(f"{item.state}: {item.reason}")
            if node.poll() is not None:
                raise ResultError(f"the node ended with exit code {node.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no result came within {RESULT_S:.0f} s")
    finally:
        queue.close()


@contextmanager
def _node(port: int, archive_port: int, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node in a process of its own, on its embedded defaults."""
    settings = {
        "node": {"ae_title": NODE, "host": HOST, "port": port},
        "receive": {"calling_ae_titles": [SCANNER], "completion": {"study_settle_s": 1.0}},
        "spool": {"path": str(out / "node"), "min_free_bytes": 0},
        "execution": {"provider": "cpu"},
        "destinations": [{"name": "archive", "ae_title": ARCHIVE, "host": HOST, "port": archive_port}],
        "status": {"port": _free_port()},
    }
    config = out / "config.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "sbnode.cli", "serve", "--config", str(config)]
    with (out / "node.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _fetch_results(out: Path) -> dict[str, Any]:
    """Copy what the node keeps beside the objects it sent, and return its report."""
    (found,) = (out / "node").glob("results/*/result.json")
    for name in ("surface.stl", "preview.png", "result.json"):
        shutil.copy(found.parent / name, out / name)
    report: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return report


def _tell(out: Path, report: dict[str, Any], seconds: float) -> None:
    print(f"\nfrom the last image to the last result: {seconds:.1f} s; stages:")
    for stage, spent in report["seconds"].items():
        print(f"  {stage:<14}{spent:8.1f} s")
    print("\nresults (RESEARCH, not a medical device):")
    for name in (*FILES.values(), "surface.stl", "preview.png", "result.json"):
        print(f"  {out / name}")


def _tell_scores(head: SimulatedHead, out: Path) -> None:
    """Print what is kept of the truth, beside fixed thresholds on the same voxels."""
    found = read_segments(pydicom.dcmread(out / "seg.dcm"), head.stack)
    rows = [("sbnode", score(found, head.stack, head.plates, head.canals))]
    rows += [(f"{hu} HU", score(head.hu > hu, head.stack, head.plates, head.canals)) for hu in FIXED_HU]
    print("\non this simulated scan, whose truth is known (plates of 0.3-1 mm, canals of 1-5 mm):")
    print(f"  {'':<10}{'thin bone kept':>16}{'canals open':>16}")
    for name, result in rows:
        print(f"  {name:<10}{_cells(result)}")


def _cells(result: Score) -> str:
    opened = round(result.canals_open * result.canals)
    return f"{result.plates_kept:>15.0%} {opened:>12} / {result.canals}"


if __name__ == "__main__":
    sys.exit(main())
