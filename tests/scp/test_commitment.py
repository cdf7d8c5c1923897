"""Storage Commitment at the Receiver: who may ask, whose report counts."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from sbnode.config import Archive
from sbnode.scu.commitment import PUSH_MODEL_INSTANCE
from sbnode.spool import Commitments, Report
from tests.integration.peers import HOST, free_port
from tests.scp.conftest import Running, Start, associate

UID = "1.2.826.0.1.3680043.10.3"


def content(uid: str = UID) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset = Dataset()
    if uid:
        dataset.TransactionUID = uid
    dataset.ReferencedSOPSequence = [item]
    return dataset


def connect(running: Running, calling: str = "PACS") -> Association:
    role = build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    association = associate(running.port, sop_class=StorageCommitmentPushModel, calling=calling, ext_neg=[role])
    assert association.is_established
    return association


def ask(running: Running, dataset: Dataset, calling: str = "PACS") -> int:
    association = connect(running, calling)
    answer, _ = association.send_n_action(dataset, 1, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE)
    association.release()
    return int(answer.Status)


def report(running: Running, dataset: Dataset) -> int:
    association = connect(running)
    answer, _ = association.send_n_event_report(dataset, 1, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE)
    association.release()
    return int(answer.Status)


@pytest.fixture
def running(start: Start) -> Running:
    archive = Archive(name="archive", ae_title="PACS", host=HOST, port=free_port())
    return start(archives=[archive.model_dump()])


def test_an_archive_s_request_is_kept_and_a_stranger_s_refused(running: Running) -> None:
    assert ask(running, content(), calling="STORESCU") == 0x0124
    assert running.spool.commitments.owed() == ()
    assert ask(running, content()) == 0x0000
    ((request, _),) = running.spool.commitments.owed()
    assert (request.transaction_uid, request.ae_title, len(request.references)) == (UID, "PACS", 1)


def test_a_request_without_a_transaction_is_refused(running: Running) -> None:
    assert ask(running, content("")) == 0x0115


def test_only_what_was_asked_for_may_be_reported(running: Running) -> None:
    assert report(running, content()) == 0x0115
    Commitments(running.spool.path).ask(UID)
    assert report(running, content()) == 0x0000
    assert running.spool.commitments.reported(UID) == Report(UID, ("1.2.3",), ())


def test_a_report_that_cannot_be_kept_is_answered_so(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    Commitments(running.spool.path).ask(UID)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running.spool.commitments, "report", full)
    assert report(running, content()) == 0x0110
