"""A full disk, a power cut and a killed process leave nothing half-written and lose nothing acknowledged."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from sbnode.errors import SpoolError, StorageFull
from sbnode.spool import Spool
from tests.scp.instances import SERIES, STUDY, ct_slice, encoded


def keep(spool: Spool, number: int = 1, size: int = 16) -> Path:
    data_set = encoded(ct_slice(number, size=size))
    return spool.store(CTImageStorage, f"{SERIES}.{number}", ExplicitVRLittleEndian, "PACS", data_set).path


def written(spool: Spool) -> list[str]:
    return sorted(path.name for path in (spool.path / "tmp").rglob("*") if path.is_file() and path.name != ".lock")


@pytest.mark.parametrize("call", ["fsync", "link"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_device_that_fills_up_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    spool = Spool(tmp_path, 0)

    def full(*_: object) -> None:
        raise OSError(code, "full")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StorageFull):
        keep(spool)
    monkeypatch.undo()
    assert written(spool) == []
    assert spool.studies() == ()
    assert keep(spool).exists()


def test_another_fault_of_the_device_is_not_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, 0)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        keep(spool)
    assert written(spool) == []


def test_a_small_device_really_filled_up(small_device: Path) -> None:
    spool = Spool(small_device / "spool", 0)
    stored: list[Path] = []

    def fill() -> None:
        for number in range(1, 100):
            stored.append(keep(spool, number, size=300))

    with pytest.raises(StorageFull):
        fill()
    assert 2 <= len(stored) < 20
    assert written(spool) == []
    (series,) = spool.series(STUDY)
    spool.verify(series)
    assert len(series.instances) == len(stored)
    stored[0].unlink()
    assert keep(spool, 1, size=300).exists()


@pytest.fixture
def small_device(tmp_path: Path) -> object:
    """A file system of 2 MB."""
    folder = tmp_path / "device"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root; the faked faults above cover the same code")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_names_are_flushed_after_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content, then folders from the new one up, then the name: any other order can lose an instance."""
    spool = Spool(tmp_path, 0)
    order: list[str] = []
    fsync, link = os.fsync, os.link

    def note_fsync(descriptor: int) -> None:
        order.append("flush " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def note_link(source: Path, target: Path) -> None:
        order.append("name " + target.name)
        link(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "link", note_link)
    keep(spool)
    content, *rest = order
    assert content.startswith("flush ")
    assert rest == [f"flush {STUDY}", "flush incoming", f"name {SERIES}.1.dcm", f"flush {SERIES}"]


KILLED = """
import sys
from pathlib import Path
from sbnode.spool import Spool
from tests.spool.test_durability import keep
spool = Spool(Path(sys.argv[1]), 0)
with spool.result("job") as folder:
    (folder / "seg.dcm").write_bytes(b"half")
    for number in range(1, 100_000):
        keep(spool, number)
        print(number, flush=True)
"""


def test_sigkill_loses_nothing_that_was_stored_and_the_rest_is_swept(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().splitlines()]
    process.wait()
    process.stdout.close()
    assert (tmp_path / "tmp").is_dir()
    spool = Spool(tmp_path, 0)
    (series,) = spool.series(STUDY)
    spool.verify(series)
    kept = {instance.instance_number for instance in series.instances}
    assert kept >= set(acknowledged)
    assert written(spool) == []
    assert [path.is_dir() for path in (tmp_path / "tmp").iterdir()].count(True) == 1


def test_a_second_process_does_not_sweep_what_the_first_is_writing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 0)
    with spool.result("job") as folder:
        (folder / "seg.dcm").write_bytes(b"half")
        program = "import sys; from pathlib import Path; from sbnode.spool import Spool; Spool(Path(sys.argv[1]), 0)"
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
        assert (folder / "seg.dcm").read_bytes() == b"half"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_what_another_user_left_keeps_nobody_from_the_spool(tmp_path: Path) -> None:
    """Root listed jobs with a strict umask, and the node couldn't start any more."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    spool = tmp_path / "spool"
    (spool / "tmp" / "left").mkdir(parents=True)
    (spool / "tmp" / "left").chmod(0o700)
    for folder in (spool, spool / "tmp"):
        os.chown(folder, 12345, 12345)
    program = (
        "import os, sys; from pathlib import Path; from sbnode.spool import Spool;"
        "os.setegid(12345); os.seteuid(12345); Spool(Path(sys.argv[1]), 0)"
    )
    subprocess.run([sys.executable, "-c", program, str(spool)], check=True)
    with pytest.raises(SpoolError, match="sudo -u"):
        Spool(spool, 0)


def test_results_appear_all_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 0)
    with spool.result("job-1") as folder:
        (folder / "seg.dcm").write_bytes(b"seg")
        assert not spool.result_folder("job-1").exists()
    assert (spool.result_folder("job-1") / "seg.dcm").read_bytes() == b"seg"
    assert not folder.exists()


def test_results_committed_twice_stay_as_they_were(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 0)
    for content in (b"first", b"second"):
        with spool.result("job-1") as folder:
            (folder / "seg.dcm").write_bytes(content)
    assert (spool.result_folder("job-1") / "seg.dcm").read_bytes() == b"first"
    assert written(spool) == []


def test_results_of_a_failed_attempt_are_deleted_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 0)
    with pytest.raises(IsADirectoryError), spool.result("job-1") as folder:
        folder.read_bytes()
    assert not folder.exists()
    assert not spool.result_folder("job-1").exists()


@pytest.mark.parametrize("job_key", ["", "..", "a/b", "a" * 65, ".hidden"])
def test_a_job_key_can_name_no_other_folder(tmp_path: Path, job_key: str) -> None:
    with pytest.raises(SpoolError):
        Spool(tmp_path, 0).result_folder(job_key)
