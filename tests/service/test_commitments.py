"""Storage Commitment for a sender, with pynetdicom as the sender that takes the report."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from sbnode import log
from sbnode.config import Config, Log
from sbnode.service.commitments import Reporter
from sbnode.spool import Commitments, Report, Request, Spool
from tests.integration.peers import HOST
from tests.scp.instances import ct_slice, encoded

UID = "1.2.826.0.1.3680043.10.4"


@dataclass
class Sender:
    """Takes reports."""

    port: int = 0
    reports: list[Report] = field(default_factory=list)

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(Report.of(event.event_information))
        return 0x0000, None


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender()
    entity = AE(ae_title="PACS")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, made.on_report)]
    server = entity.start_server((HOST, 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    made.port = server.server_address[1]
    yield made
    server.shutdown()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool", 0)
    for number in (1, 2, 3):
        one = ct_slice(number)
        made.store(CTImageStorage, one.SOPInstanceUID, ExplicitVRLittleEndian, "PACS", encoded(one))
    return made


def reporter(spool: Spool, sender: Sender) -> Reporter:
    archive = {"name": "archive", "ae_title": "PACS", "host": HOST, "port": sender.port}
    return Reporter(Config.model_validate({"archives": [archive], "receive": {"calling_ae_titles": ["PACS"]}}), spool)


def test_each_instance_is_committed_to_or_fails_for_its_own_reason(
    spool: Spool, sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(Log())
    held, conflicting, damaged, missing = (ct_slice(number).SOPInstanceUID for number in (1, 2, 3, 4))
    path = next(spool.path.rglob(f"{damaged}.dcm"))
    path.write_bytes(path.read_bytes()[:-10])
    references = (
        (CTImageStorage, held),
        (MRImageStorage, conflicting),
        (CTImageStorage, damaged),
        (CTImageStorage, missing),
    )
    spool.commitments.owe(Request(UID, "PACS", references))
    reporter(spool, sender).turn(lambda: False)
    failed = ((conflicting, 0x0119), (damaged, 0x0112), (missing, 0x0112))
    assert sender.reports == [Report(UID, (held,), failed)]
    assert spool.commitments.owed() == ()
    (record,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"commitment"' in line]
    assert (record["outcome"], record["instances"]) == ("missing", 4)
    assert record["failures"] == {"0x0119 class / instance conflict": 1, "0x0112 no such object instance": 2}


def test_what_is_held_is_reported_without_failures(
    spool: Spool, sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(Log())
    uid = str(ct_slice(1).SOPInstanceUID)
    spool.commitments.owe(Request(UID, "PACS", ((CTImageStorage, uid),)))
    reporter(spool, sender).turn(lambda: False)
    assert sender.reports == [Report(UID, (uid,), ())]
    (record,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"commitment"' in line]
    assert record["outcome"] == "reported"
    assert "failures" not in record


def uid_of(number: int) -> str:
    return str(ct_slice(number).SOPInstanceUID)


def owe(spool: Spool, *requests: tuple[int, ...]) -> None:
    """Ask for commitments, each to the instances of these numbers."""
    for number, instances in enumerate(requests):
        references = tuple((str(CTImageStorage), uid_of(one)) for one in instances)
        spool.commitments.owe(Request(f"{UID}.{number}", "PACS", references))


def fail(monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
    """Have the device fail with this error when a file is opened."""
    opened = io.open

    def failing(path: object, *arguments: object, **more: object) -> object:
        if Path(str(path)).name == name:
            raise OSError(error, os.strerror(error))
        return opened(path, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", failing)


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_file_that_cannot_be_read_fails_in_its_own_report_alone(
    error: int, spool: Spool, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, nobody was told anything any more."""
    owe(spool, (1,), (1, 2), (3,))
    fail(monkeypatch, f"{uid_of(2)}.dcm", error)
    reporter(spool, sender).turn(lambda: False)
    assert sender.reports == [
        Report(f"{UID}.0", (uid_of(1),), ()),
        Report(f"{UID}.1", (uid_of(1),), ((uid_of(2), 0x0110),)),
        Report(f"{UID}.2", (uid_of(3),), ()),
    ]
    assert spool.commitments.owed() == ()


def test_a_folder_in_the_place_of_a_file_is_a_failure_too(spool: Spool, sender: Sender) -> None:
    owe(spool, (1, 2))
    path = next(spool.path.rglob(f"{uid_of(2)}.dcm"))
    path.unlink()
    path.mkdir()
    reporter(spool, sender).turn(lambda: False)
    assert sender.reports == [Report(f"{UID}.0", (uid_of(1),), ((uid_of(2), 0x0110),))]


def test_what_may_lie_in_a_folder_that_cannot_be_listed_is_asked_again(
    spool: Spool, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found elsewhere is held nevertheless."""
    (spool.path / "incoming" / "1.2.3").mkdir()
    listed = os.scandir

    def failing(path: str) -> object:
        if Path(path).name == "1.2.3":
            raise OSError(errno.EIO, "broken", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", failing)
    owe(spool, (1, 4))
    reporter(spool, sender).turn(lambda: False)
    assert sender.reports == [Report(f"{UID}.0", (uid_of(1),), ((uid_of(4), 0x0110),))]


def test_a_request_that_is_too_old_is_given_up_without_looking(
    spool: Spool, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    owe(spool, (1,))
    (path,) = spool.path.rglob(f"{UID}.0.json")
    os.utime(path, (0, 0))

    def look(*_: object) -> None:
        raise AssertionError("it was looked for")

    monkeypatch.setattr(Spool, "holdings", look)
    reporter(spool, sender).turn(lambda: False)
    assert (sender.reports, spool.commitments.owed()) == ([], ())


def test_a_request_that_cannot_be_removed_holds_up_no_other_sender(
    spool: Spool, sender: Sender, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(Log())
    owe(spool, (1,), (2,))
    spool.commitments.owe(Request(f"{UID}.0.1", "NOBODY", ((str(CTImageStorage), uid_of(1)),)))
    settle = Commitments.settle

    def failing(self: Commitments, transaction_uid: str) -> None:
        if transaction_uid == f"{UID}.0.1":
            raise OSError(errno.EROFS, "read-only")
        settle(self, transaction_uid)

    monkeypatch.setattr(Commitments, "settle", failing)
    told = reporter(spool, sender)
    for _ in range(2):
        told.turn(lambda: False)
    assert [report.transaction_uid for report in sender.reports] == [f"{UID}.0", f"{UID}.1"]
    assert capsys.readouterr().err.count('"commitment_not_reported"') == 1


def test_a_stray_file_holds_up_nobody(spool: Spool, sender: Sender) -> None:
    owe(spool, (1,))
    (spool.path / "commitments" / "owed" / "a copy.json").write_text("{}")
    reporter(spool, sender).turn(lambda: False)
    assert len(sender.reports) == 1
