"""Counters on a device without a free byte, a small tmpfs: no process ends by a signal there, and none is kept out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.metrics.test_counters import COUNT, SCRAPE, python

pytestmark = pytest.mark.integration

DEVICE_BYTES = 1 << 20
PREPARE = """
from pathlib import Path
from sbnode import metrics
from prometheus_client import generate_latest
ballast = Path({ballast!r})
def fill():
    with ballast.open("ab", buffering=0) as file:
        try:
            while True: file.write(bytes(4096))
        except OSError: pass
def scrape():
    return generate_latest(metrics.registry()).decode()
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """The folder of the counters, which is a file system of ``DEVICE_BYTES``."""
    mounted = tmp_path / "device"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DEVICE_BYTES}", "none", str(mounted)]
    if subprocess.run(mount, check=False).returncode != 0:
        unavailable("this user may mount nothing: run as root")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def on(device: Path, code: str) -> str:
    return python(PREPARE.format(ballast=str(device / "ballast")) + code, device)


def many(labels: int) -> str:
    return f"for number in range({labels}): metrics.DELIVERIES.labels('pacs' + str(number), 'seg', 'delivered').inc()\n"


def test_the_dead_are_added_up_when_there_is_room_again_and_once(device: Path) -> None:
    python(COUNT.format(2), device)
    count = "print([line for line in scrape().splitlines() if 'reason=\"idle\"} 2.0' in line])\n"
    said = on(device, f"fill()\nmetrics.add_up_dead_processes()\n{count}ballast.unlink()\n{count}{count}")
    assert said.count('sbnode_series_completed_total{reason="idle"} 2.0') == 3
    assert len(list(device.glob("counter_*.db"))) == 2  # the dead and the one that asked


def test_the_dead_fill_their_file_only_when_all_fits(device: Path) -> None:
    """The sum needs a larger file than it has: what was added before there was no room must not count again."""
    python(COUNT.format(2), device)
    python(SCRAPE, device)
    python(f"{COUNT.format(3)}\n{many(400)}", device)
    count = "print([line for line in scrape().splitlines() if 'reason=\"idle\"} 5.0' in line])\n"
    said = on(device, f"fill()\n{count}ballast.unlink()\n{count}{count}")
    assert said.count('sbnode_series_completed_total{reason="idle"} 5.0') == 3


def test_a_process_counts_new_labels_in_memory_until_there_is_room(device: Path) -> None:
    said = on(device, f"fill()\n{many(400)}print('alive')\nballast.unlink()\n{many(400)}print(scrape())")
    assert "alive\n" in said
    delivered = [line for line in said.splitlines() if line.startswith("sbnode_deliveries_total{")]
    assert len(delivered) == 400
    assert {line.rpartition(" ")[2] for line in delivered} == {"2.0"}
    assert said.count("counters_not_kept") == 1


def test_a_process_starts_and_counts_and_is_read_on_a_full_device(device: Path) -> None:
    python(COUNT.format(2), device)
    on(device, "fill()")
    assert "started" in python(COUNT.format(1) + "; print('started')", device)
    assert 'sbnode_series_completed_total{reason="idle"} 2.0' in python(SCRAPE, device)
    assert not list(device.glob("*.unreadable"))
