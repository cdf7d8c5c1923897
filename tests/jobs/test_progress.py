"""How far a worker is: what it writes for the status page, and that no job fails for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbnode.jobs.progress import Progress, ProgressFile, read_progress


def test_what_was_told_last_is_read_until_the_job_ends(tmp_path: Path) -> None:
    now_s = 100.0
    file = ProgressFile(tmp_path, "worker-1", lambda: now_s)
    assert read_progress(tmp_path, "worker-1") is None
    tell = file.begin("job")
    tell("read", 0.0)
    now_s = 103.0
    tell("inference", 0.0)
    now_s = 104.0
    tell("inference", 1.7)
    assert read_progress(tmp_path, "worker-1") == Progress("job", "inference", 1.0, 100.0, 103.0)
    assert read_progress(tmp_path, "worker-2") is None
    file.end()
    assert read_progress(tmp_path, "worker-1") is None
    assert list((tmp_path / "workers").iterdir()) == []


def test_a_share_is_written_now_and_then_and_a_stage_at_once(tmp_path: Path) -> None:
    now_s = 100.0
    tell = ProgressFile(tmp_path, "worker-1", lambda: now_s).begin("job")
    shares = []
    for step in range(10):
        now_s = 100 + step / 10
        tell("inference", step / 10)
        found = read_progress(tmp_path, "worker-1")
        assert found is not None
        shares.append(found.share)
    assert shares == [0.0] * 5 + [0.5] * 5
    tell("threshold", 0.0)
    found = read_progress(tmp_path, "worker-1")
    assert found is not None
    assert found.stage == "threshold"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"job": "a"}', b'{"job": 1, "share": "x"}', b"\xff"])
def test_what_is_not_progress_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "worker-1.progress.json").write_bytes(content)
    assert read_progress(tmp_path, "worker-1") is None


def test_a_folder_that_can_not_be_written_stops_no_job(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("a file in the way")
    file = ProgressFile(tmp_path, "worker-1")
    file.begin("job")("read", 0.5)
    file.end()
    assert read_progress(tmp_path, "worker-1") is None
