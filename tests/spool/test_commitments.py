from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from sbnode.errors import NotUnderstood, SpoolError
from sbnode.spool import Commitments, Report, Request

UID = "1.2.826.0.1.3680043.10.1"


def item(uid: str) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    return found


def test_what_one_process_asked_another_may_report(tmp_path: Path) -> None:
    asking, receiving = Commitments(tmp_path), Commitments(tmp_path)
    assert not receiving.asked(UID)
    asking.ask(UID)
    assert receiving.asked(UID)
    assert asking.reported(UID) is None
    receiving.report(Report(UID, ("1.2",), (("1.3", 0x0112),)))
    assert asking.reported(UID) == Report(UID, ("1.2",), (("1.3", 0x0112),))
    asking.forget(UID)
    assert not receiving.asked(UID)
    assert asking.reported(UID) is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_older_record_of_a_report_has_no_reasons(tmp_path: Path) -> None:
    reported = tmp_path / "commitments" / "reported"
    reported.mkdir(parents=True)
    (reported / f"{UID}.json").write_text('{"committed": ["1.2"], "failed": ["1.3"]}')
    assert Commitments(tmp_path).reported(UID) == Report(UID, ("1.2",), (("1.3", 0),))


def test_what_is_owed_survives_until_it_is_settled(tmp_path: Path) -> None:
    request = Request(UID, "PACS", (("1.2.840.10008.5.1.4.1.1.2", "1.2"),))
    Commitments(tmp_path).owe(request)
    ((owed, age_s),) = Commitments(tmp_path).owed()
    assert owed == request
    assert 0 <= age_s < 60
    Commitments(tmp_path).settle(UID)
    assert Commitments(tmp_path).owed() == ()


def test_reports_and_requests_are_read_as_the_standard_has_them() -> None:
    content = Dataset()
    content.TransactionUID = UID
    content.ReferencedSOPSequence = [item("1.2"), item("1.3")]
    content.FailedSOPSequence = [item("1.4"), item("1.5"), item("1.6")]
    content.FailedSOPSequence[0].FailureReason = 0x0213
    content.FailedSOPSequence[1].FailureReason = None
    assert Report.of(content) == Report(UID, ("1.2", "1.3"), (("1.4", 0x0213), ("1.5", 0), ("1.6", 0)))
    del content.FailedSOPSequence
    assert Report.of(content).failed == ()
    assert [uid for _, uid in Request.of(content, "PACS").references] == ["1.2", "1.3"]


def test_a_request_names_instances_by_their_uids() -> None:
    content = Dataset()
    content.TransactionUID = UID
    with pytest.raises(NotUnderstood, match="names no instance"):
        Request.of(content, "PACS")
    content.ReferencedSOPSequence = [item("1.2"), Dataset()]
    with pytest.raises(NotUnderstood, match="without its UIDs"):
        Request.of(content, "PACS")


def test_a_damaged_file_holds_up_no_other(tmp_path: Path) -> None:
    commitments = Commitments(tmp_path)
    commitments.owe(Request(UID, "PACS", (("1.2", "1.2.3"),)))
    (tmp_path / "commitments" / "owed" / "1.1.1.json").write_text("{")
    assert [request.transaction_uid for request, _ in commitments.owed()] == [UID]


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "1.2/3"])
def test_a_transaction_is_named_by_a_uid(uid: str, tmp_path: Path) -> None:
    content = Dataset()
    content.add_new("TransactionUID", "LO", uid)
    with pytest.raises(NotUnderstood, match="Transaction UID"):
        Report.of(content)
    with pytest.raises(SpoolError, match="Transaction UID"):
        Commitments(tmp_path).ask(uid)
    assert list(tmp_path.iterdir()) == []
