"""Hours of ordinary work, with the pipeline that takes no time: ``python -m tests.faults.soak --minutes 45``.

In each round sixteen storescu send a study each, all at once. Every minute a line says what both processes hold. At the
end, everything that was acknowledged must be in the spool and delivered once, and memory and file descriptors of the
last quarter must be what they were in the second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.faults.receiving import Vitals, stored
from tests.integration.peers import free_port, wait_until
from tests.integration.small_node import Archive, Node

SENDERS = 16
SLICES = 45
PIXELS = 64
ROUND_S = 20.0
MINUTE_S = 60.0
GROWTH = 1.1
"""Memory may grow by this factor from the second quarter to the last; descriptors by ``MORE_DESCRIPTORS``."""
MORE_DESCRIPTORS = 4


@dataclass(frozen=True)
class Look:
    """What the receiving process and the worker hold at one moment."""

    receiving: Vitals
    working: Vitals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=45)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak(Path(folder), arguments.minutes * MINUTE_S)


def soak(folder: Path, duration_s: float) -> None:
    """Work for so long, print, and fail where something was lost or grows."""
    port = free_port()
    archive = Archive(port)
    node = Node(folder, port)
    sent: set[str] = set()
    looks: list[Look] = []
    try:
        node.start()
        begun_s = time.monotonic()
        rounds = 0
        while (now_s := time.monotonic() - begun_s) < duration_s:
            with ThreadPoolExecutor(SENDERS) as pool:
                studies = [f"1.2.{rounds + 1}.{number}" for number in range(1, SENDERS + 1)]
                list(pool.map(lambda study: node.send(study, PIXELS), studies))
            sent |= {f"{study}.1.{number}" for study in studies for number in range(1, SLICES + 1)}
            rounds += 1
            if now_s >= len(looks) * MINUTE_S:
                looks.append(Look(Vitals.of(node.pid), Vitals.of(node.worker_pid)))
                print(
                    f"{now_s / MINUTE_S:5.1f} min  {len(sent):6} acknowledged  {len(archive.received):5} delivered  "
                    f"receiving: {looks[-1].receiving}  working: {looks[-1].working}",
                    flush=True,
                )
            time.sleep(max(0.0, rounds * ROUND_S - (time.monotonic() - begun_s)))
        wait_until(lambda: len(archive.received) == 2 * rounds * SENDERS, 600, "all results at the archive", 1.0)
        assert set(archive.received.values()) == {1}, "something was sent twice"
        assert stored(folder / "spool") == sent, "something was lost"
        require_flat(looks)
        print(f"{len(sent)} instances of {rounds * SENDERS} studies: none lost, each result delivered once")
    finally:
        node.close()
        archive.close()


def require_flat(looks: list[Look]) -> None:
    """Fail where a process holds more in the last quarter than in the second."""
    quarter = len(looks) // 4
    assert quarter, "too short to tell whether anything grows"
    for name in ("receiving", "working"):
        early = [getattr(look, name) for look in looks[quarter : 2 * quarter]]
        late = [getattr(look, name) for look in looks[-quarter:]]
        memory = [median(one.resident_bytes for one in part) for part in (early, late)]
        descriptors = [median(one.descriptors for one in part) for part in (early, late)]
        assert memory[1] < GROWTH * memory[0], f"{name}: memory grew from {memory[0]} to {memory[1]} bytes"
        assert descriptors[1] <= descriptors[0] + MORE_DESCRIPTORS, f"{name}: descriptors grew: {descriptors}"


if __name__ == "__main__":
    main()
