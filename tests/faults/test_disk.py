"""A device that really fills up: a small ext4 file system, or tmpfs where no loop device may be used."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from sbnode.errors import SpoolError
from sbnode.spool import Spool
from tests.conftest import unavailable
from tests.faults.receiving import stored
from tests.integration.peers import http_status, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node

pytestmark = [*MORTAL, pytest.mark.timeout(600)]

MB = 1_000_000
DEVICE_MB = 96
SLICE_PIXELS = 256
"""A slice has 0.13 MB, a study of 45 has 6 MB."""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """The mount point of an empty file system of ``DEVICE_MB``."""
    image, mounted = tmp_path / "image", tmp_path / "device"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(DEVICE_MB * MB)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-m", "0", image], check=True)
    ways = (["-o", "loop", image], ["-t", "tmpfs", "-o", f"size={DEVICE_MB * MB}", "none"])
    if not any(subprocess.run(["mount", *way, mounted], check=False).returncode == 0 for way in ways):
        unavailable("this user may mount nothing: run as root")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def fill(device: Path, free_mb: float) -> Path:
    """Leave only so much space free; delete what is returned to get it back."""
    ballast = device / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while shutil.disk_usage(device).free > free_mb * MB:
                file.write(bytes(min(MB, max(4096, int(shutil.disk_usage(device).free - free_mb * MB)))))
        except OSError:
            assert free_mb == 0, "the device is fuller than asked for"
    return ballast


@pytest.fixture
def node(device: Path, archive_port: int) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def start(**spool: int) -> Node:
        made.append(Node(device, archive_port, spool=spool))
        made[0].start()
        wait_until(lambda: '"action": "working"' in made[0].log(), START_S, "the worker is ready")
        return made[0]

    yield start
    for one in made:
        one.close()


def two_per_study(archive: Archive, studies: int) -> None:
    wait_until(lambda: len(archive.received) == 2 * studies, START_S, "both objects of each study at the archive")
    time.sleep(1)
    assert set(archive.received.values()) == {1}


def test_below_the_soft_mark_senders_keep_their_instances_and_reception_goes_on_by_itself(
    node: Callable[..., Node], device: Path, archive: Archive
) -> None:
    one = node(min_free_bytes=20 * MB, pause_free_bytes=0)
    ballast = fill(device, 22)
    acknowledged = one.try_to_send(pixels=SLICE_PIXELS)
    assert 0 < len(acknowledged) < 45
    assert stored(device / "spool") == acknowledged
    fill(device, 19)
    wait_until(lambda: http_status(f"{one.status_url}/readyz") == 503, START_S, "the node says that it isn't ready")
    ballast.unlink()
    wait_until(lambda: http_status(f"{one.status_url}/readyz") == 200, START_S, "the node is ready")
    assert len(one.try_to_send(pixels=SLICE_PIXELS)) == 45
    wait_until(lambda: bool(archive.received), START_S, "objects at the archive")


def test_below_the_hard_mark_work_waits_and_goes_on_without_a_dead_letter(
    node: Callable[..., Node], device: Path, archive: Archive
) -> None:
    one = node(min_free_bytes=0, pause_free_bytes=20 * MB)
    ballast = fill(device, 15)
    assert len(one.try_to_send(pixels=SLICE_PIXELS)) == 45
    wait_until(lambda: "work_paused" in one.log(), START_S, "work is paused")
    time.sleep(5)  # some ten attempts by the retry law of this node
    assert one.runs == 0
    assert {item.state for item in one.items()} == {"running"}
    ballast.unlink()
    two_per_study(archive, 1)


def test_a_device_without_a_free_byte_loses_nothing_and_needs_no_restart(
    node: Callable[..., Node], device: Path, archive: Archive
) -> None:
    """With both marks at zero, so that the device itself refuses, in the middle of everything."""
    one = node(min_free_bytes=0, pause_free_bytes=0)
    slow = one.will("slow", "300")
    assert len(one.try_to_send("1.2.3", pixels=SLICE_PIXELS)) == 45
    wait_until(lambda: one.runs == 1, START_S, "the pipeline runs")
    ballast = fill(device, 0)
    acknowledged = one.try_to_send("1.2.4", pixels=SLICE_PIXELS)
    assert not acknowledged
    slow.rename(slow.with_name("quick"))  # the pipeline goes on; unlike deleting, this frees nothing
    time.sleep(6)
    assert not archive.received
    ballast.unlink()
    assert len(one.try_to_send("1.2.4", pixels=SLICE_PIXELS)) == 45
    two_per_study(archive, 2)
    spool = Spool(device / "spool", 0)
    for study in spool.studies():
        for series in spool.series(study):
            spool.verify(series)
    assert {item.state for item in one.items()} == {"done"}


def test_a_worker_that_dies_on_a_full_device_takes_nobody_along_and_comes_back(
    device: Path, tmp_path: Path, archive_port: int, archive: Archive
) -> None:
    """Its counters are added up, and the next one begins to count, where there is no room for either."""
    (device / "spool").mkdir()
    folder = tmp_path / "node"  # on another device, so that the log says what happens
    folder.mkdir()
    (folder / "spool").symlink_to(device / "spool")
    one = Node(folder, archive_port)
    try:
        one.start()
        wait_until(lambda: '"action": "working"' in one.log(), START_S, "the worker is ready")
        ballast = fill(device, 0)
        one.kill_worker()
        wait_until(lambda: "counters_not_kept" in one.log(), START_S, "the counters are not kept")
        with urlopen(f"{one.status_url}/metrics", timeout=60) as answer:
            assert b"sbnode_worker_starts_total" in answer.read()
        time.sleep(5)  # some starts of a worker, each on the full device
        assert not one.is_over()
        assert '"code": -7' not in one.log(), "SIGBUS"
        ballast.unlink()
        assert len(one.try_to_send(pixels=SLICE_PIXELS)) == 45
        two_per_study(archive, 1)
    finally:
        one.close()


def test_a_damaged_instance_is_found_and_named(node: Callable[..., Node], device: Path, archive: Archive) -> None:
    one = node(min_free_bytes=0, pause_free_bytes=0)
    assert len(one.try_to_send(pixels=SLICE_PIXELS)) == 45
    two_per_study(archive, 1)
    damaged = next((device / "spool" / "incoming").rglob("*.dcm"))
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 0xFF
    damaged.write_bytes(content)
    spool = Spool(device / "spool", 0)
    (series,) = spool.series("1.2.3")
    with pytest.raises(SpoolError):
        spool.verify(series)
    said = one.command("jobs", "rescan", "--verify")
    assert said.returncode == 4
    assert "damaged" in said.stdout
