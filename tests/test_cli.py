"""The command line: exit codes, and messages that say what, where and what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import yaml
from typer.testing import CliRunner

from sbnode import __version__, log, pipeline
from sbnode.cli import app
from sbnode.config import Config, load_config
from sbnode.errors import NoSkullBase
from sbnode.jobs.client import JobClient
from sbnode.series import Series
from sbnode.spool import Spool
from tests.jobs.fakes import Peer, fill, free_port
from tests.scp.instances import SERIES, ct_slice, files

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the logs of the test process as they are."""
    monkeypatch.setattr(log, "_tame_libraries", lambda: None)
    yield
    structlog.reset_defaults()


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """Twenty slices, and a file that is no DICOM, in a folder within a folder."""
    folder = tmp_path / "ct" / "below"
    folder.mkdir(parents=True)
    files(folder, [ct_slice(n) for n in range(1, 21)])
    (folder / "readme.txt").write_text("nothing")
    return tmp_path / "ct"


def sbnode(*arguments: str | Path) -> tuple[int, str]:
    """Run the command line; return its exit code and all that it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


class FakePipeline:
    """Stands for the pipeline: notes what it was given, writes the files or raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, raises: Exception | None = None) -> None:
        self.study: Sequence[Series] = ()
        self.region = ""
        self._raises = raises
        monkeypatch.setattr(pipeline.Models, "open", classmethod(lambda *_: None))
        monkeypatch.setattr(pipeline, "run", self._run)

    def _run(
        self, study: Sequence[Series], _: Any, config: Config, folder: Path, *, made_at: datetime, **more: Any
    ) -> Any:
        self.study, self.region = study, config.region
        (folder / "seg.dcm").touch()
        if self._raises:
            raise self._raises
        names = (*pipeline.RESULT_FILES, *(("bone.seg.nrrd",) if more["with_fine"] else ()))
        for name in names:
            (folder / name).touch()
        report = SimpleNamespace(
            why="20 axial slices",
            region=config.region,
            volume_ml=12.5,
            inferred_share=0.1,
            findings=(),
            flags=(),
            model=SimpleNamespace(name="skullbase", version="1.0"),
            provider="cpu",
            seconds={"read": 1.0},
        )
        return SimpleNamespace(folder=folder, report=report)


def test_version_and_help() -> None:
    assert sbnode("--version") == (0, f"sbnode {__version__}\n")
    code, text = sbnode("--help")
    assert code == 0
    for command in ("run", "serve", "work", "check", "jobs"):
        assert command in text


def test_run_writes_every_file_and_skips_what_is_no_dicom(
    monkeypatch: pytest.MonkeyPatch, ct: Path, tmp_path: Path
) -> None:
    fake = FakePipeline(monkeypatch)
    out = tmp_path / "out"
    code, text = sbnode("run", ct, "--out", out, "--fine", "--region", "all_bone")
    assert code == 0, text
    assert {path.name for path in out.iterdir()} == {*pipeline.RESULT_FILES, "bone.seg.nrrd"}
    assert "1 files are not DICOM" in text
    assert "20 axial slices" in text
    assert [len(series.instances) for series in fake.study] == [20]
    assert fake.region == "all_bone"


def test_run_without_a_skull_base_ends_with_3_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, ct: Path, tmp_path: Path
) -> None:
    FakePipeline(monkeypatch, NoSkullBase("the scan shows no skull base (confidence 0.02)"))
    out = tmp_path / "out"
    code, text = sbnode("run", ct, "--out", out)
    assert code == 3
    assert "no skull base" in text
    assert list(out.iterdir()) == []


def test_run_that_fails_ends_with_4(monkeypatch: pytest.MonkeyPatch, ct: Path, tmp_path: Path) -> None:
    FakePipeline(monkeypatch, RuntimeError("broken"))
    assert sbnode("run", ct, "--out", tmp_path / "out")[0] == 4


def test_run_takes_the_series_that_is_named_and_lists_them_when_it_isn_t_there(
    monkeypatch: pytest.MonkeyPatch, ct: Path, tmp_path: Path
) -> None:
    FakePipeline(monkeypatch)
    assert sbnode("run", ct, "--out", tmp_path / "out", "--series", SERIES)[0] == 0
    code, text = sbnode("run", ct, "--out", tmp_path / "out", "--series", "1.2.9")
    assert code == 3
    assert SERIES in text


@pytest.mark.parametrize("content", [None, "file.txt"])
def test_run_on_a_folder_without_dicom_ends_with_3(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    if content:
        (folder / content).write_text("x")
    code, text = sbnode("run", folder, "--out", tmp_path / "out")
    assert code == 3
    assert "holds no DICOM image" in text


def test_an_unknown_key_ends_with_2_and_names_the_nearest(tmp_path: Path, ct: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("node:\n  ae_tilte: X\n")
    code, text = sbnode("run", ct, "--out", tmp_path / "out", "--config", file)
    assert code == 2
    assert "node.ae_tilte" in text
    assert "ae_title" in text


def test_a_missing_model_ends_with_2(tmp_path: Path, ct: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model:\n  occupancy: nowhere\n")
    code, text = sbnode("run", ct, "--out", tmp_path / "out", "--config", file)
    assert code == 2
    assert "nowhere" in text


def write_config(folder: Path, **sections: object) -> Path:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"spool": {"path": "spool", "min_free_bytes": 0}, **sections}))
    return file


def test_a_port_in_use_ends_serve_with_2_and_says_which(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        node = {"node": {"host": "127.0.0.1", "port": port}, "status": {"port": free_port()}}
        code, text = sbnode("serve", "--no-worker", "--config", write_config(tmp_path, **node))
        assert code == 2
        assert str(port) in text
        node = {"node": {"host": "127.0.0.1", "port": free_port()}, "status": {"port": port}}
        code, text = sbnode("serve", "--no-worker", "--config", write_config(tmp_path, **node))
        assert code == 2
        assert "status.port" in text


def test_check_names_each_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FakePipeline(monkeypatch)
    up, down = free_port(), free_port()
    peer = Peer(up)
    file = write_config(
        tmp_path,
        node={"host": "127.0.0.1", "port": free_port()},
        status={"port": free_port()},
        receive={"calling_ae_titles": ["MODALITY"]},
        destinations=[
            {"name": "up", "ae_title": "PEER", "host": "127.0.0.1", "port": up},
            {"name": "down", "ae_title": "PEER", "host": "127.0.0.1", "port": down, "timeout_s": 2},
        ],
    )
    code, text = sbnode("check", "--config", file)
    peer.close()
    assert code == 4
    assert "ok    destination 'up' answers" in text
    assert "fault destination 'down' answers" in text
    assert "can't be reached" in text


def test_check_ends_with_2_when_nobody_may_send(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FakePipeline(monkeypatch)
    node = {"node": {"host": "127.0.0.1", "port": free_port()}, "status": {"port": free_port()}}
    code, text = sbnode("check", "--config", write_config(tmp_path, **node))
    assert code == 2
    assert "receive.calling_ae_titles is empty" in text


def test_jobs_lists_and_shows_and_refuses_what_isn_t_there(tmp_path: Path) -> None:
    file = write_config(tmp_path)
    config = Config(spool={"path": tmp_path / "spool", "min_free_bytes": 0})
    spool = Spool(config.spool.path, 0)
    client = JobClient(config, spool)
    study = client.submit(fill(spool, slices=3))
    client.close()
    code, text = sbnode("jobs", "list", "--config", file)
    assert code == 0
    # One line each, however long: this is no terminal.
    assert [line.split()[3:] for line in text.splitlines()[1:]] == [[study, "queued"]]
    assert study in sbnode("jobs", "show", study[:12], "--config", file)[1]
    code, text = sbnode("jobs", "show", "nothing", "--config", file)
    assert code == 4
    assert "begins with nothing" in text
    assert sbnode("jobs", "retry", study, "--config", file)[0] == 4


def shelf(folder: Path, **sections: object) -> tuple[Path, JobClient, str]:
    """A configuration with the destination 'archive', its queue, and a job whose results are in the spool."""
    destination = {"name": "archive", "ae_title": "PEER", "host": "127.0.0.1", "port": free_port(), "objects": ["seg"]}
    file = write_config(folder, destinations=[destination], **sections)
    spool = Spool(folder / "spool", 0)
    client = JobClient(load_config(file), spool)
    client.submit(fill(spool, slices=3))
    with spool.result("ab" * 16) as made:
        (made / "seg.dcm").touch()
    assert client.send("ab" * 16, "archive", "seg")
    return file, client, "ab" * 16


def test_jobs_send_queues_each_object_and_names_the_nearest_destination(tmp_path: Path) -> None:
    file, client, job = shelf(tmp_path)
    client.close()
    code, text = sbnode("jobs", "send", job[:6], "--to", "archive", "--config", file)
    assert (code, text.strip()) == (0, f"on its way already: {job}.archive.seg")
    (tmp_path / "spool" / "results" / job / "seg.dcm").unlink()
    code, text = sbnode("jobs", "send", job[:6], "--to", "archive", "--config", file)
    assert (code, text.strip()) == (0, f"not in the results: {job}.archive.seg")
    code, text = sbnode("jobs", "send", job, "--to", "archiv", "--config", file)
    assert code == 2
    assert "did you mean 'archive'" in text
    code, text = sbnode("jobs", "send", "study", "--to", "archive", "--config", file)
    assert code == 4
    assert "has results in the spool" in text


def test_jobs_redo_and_release_and_retry_refuse_what_isn_t_there(tmp_path: Path) -> None:
    file, client, job = shelf(tmp_path)
    client.close()
    for arguments in (
        ("redo", "nothing"),
        ("release", job),
        ("release", "--all"),
        ("retry", "--destination", "archive"),
    ):
        code, text = sbnode("jobs", *arguments, "--config", file)
        assert code == 4, text
    for arguments in (("release",), ("retry",), ("retry", job, "--all-dead")):
        assert sbnode("jobs", *arguments, "--config", file)[0] == 2
    assert sbnode("jobs", "list", "--held", "--config", file)[0] == 0


def test_jobs_redo_of_what_waits_changes_nothing(tmp_path: Path) -> None:
    file, client, _ = shelf(tmp_path)
    before = client.items()
    code, text = sbnode("jobs", "redo", "study-", "--config", file)
    assert code == 0
    assert "queued again: study-" in text
    assert client.items() == before
    client.close()
