from __future__ import annotations

from pydicom.uid import UID

from sbnode.results.uids import result_uid


def test_the_same_job_and_role_have_the_same_uid_for_good() -> None:
    # Stored results are found by it: this value must never change.
    assert result_uid("job", "seg.series") == "2.25.21710209602234929914793279464940728196"


def test_job_and_role_both_count() -> None:
    uids = {result_uid(job, role) for job in ("a", "b") for role in ("seg.series", "seg.instance")}
    assert len(uids) == 4
    assert all(UID(uid).is_valid and len(uid) <= 64 for uid in uids)
