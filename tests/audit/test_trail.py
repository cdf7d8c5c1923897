from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sbnode.audit import Audit, Participant

PACS = Participant("PACS", "192.0.2.1")


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_has_its_code_and_who_took_part(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path, "SBNODE")
    audit.application(started=True)
    audit.rejected(PACS)
    audit.received(PACS, "1.2.3", 50)
    audit.sent(PACS, "1.2.3", 1, accepted=True)
    audit.sent(PACS, "1.2.3", 1, accepted=False)
    audit.deleted("1.2.3")
    audit.application(started=False)
    found = records(path)
    codes = [(r["EventID"]["code"], r["EventActionCode"], r["EventOutcomeIndicator"]) for r in found]
    assert codes == [
        ("110100", "E", 0),
        ("110113", "E", 4),
        ("110104", "C", 0),
        ("110104", "R", 0),
        ("110104", "R", 8),
        ("110105", "D", 0),
        ("110100", "E", 0),
    ]
    received = found[2]
    roles = {p["UserID"]: p["RoleIDCode"]["code"] for p in received["ActiveParticipant"]}
    assert roles == {"PACS": "110153", "SBNODE": "110152"}
    (study,) = received["ParticipantObject"]
    assert (study["ParticipantObjectID"], study["NumberOfInstances"]) == ("1.2.3", 50)
    assert found[0]["EventTypeCode"]["code"] == "110120"
    assert found[6]["EventTypeCode"]["code"] == "110121"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_person_does_at_the_status_page_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path, "SBNODE")
    person = Participant("radiology", "192.0.2.7")
    audit.exported(person, "1.2.3")
    audit.retried(person, None)
    audit.dismissed(person, "1.2.3", "not_needed")
    exported, retried, dismissed = records(path)
    assert (exported["EventID"]["code"], exported["EventActionCode"], exported["EventOutcomeIndicator"]) == (
        "110106",
        "R",
        0,
    )
    roles = {p["UserID"]: (p["RoleIDCode"]["code"], p["UserIsRequestor"]) for p in exported["ActiveParticipant"]}
    assert roles == {"radiology": ("110152", True), "SBNODE": ("110153", False), "browser": ("110154", False)}
    assert exported["ParticipantObject"][0]["ParticipantObjectID"] == "1.2.3"
    assert (retried["EventID"]["code"], retried["EventTypeCode"]["code"]) == ("110113", "110132")
    assert retried["EventOutcomeIndicator"] == 0
    assert "ParticipantObject" not in retried
    assert dismissed["EventTypeCode"] == retried["EventTypeCode"]
    assert [(p["UserID"], p["UserIsRequestor"]) for p in dismissed["ActiveParticipant"]][1] == ("radiology", True)
    (study,) = dismissed["ParticipantObject"]
    assert study["ParticipantObjectID"] == "1.2.3"
    detail = {"type": "Alert Description", "value": "failed work dismissed: not_needed"}
    assert study["ParticipantObjectDetail"] == [detail]


def test_records_of_many_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit, other = Audit(path, "SBNODE"), Audit(path, "SBNODE")
    with ThreadPoolExecutor(8) as pool:
        for number in range(200):
            pool.submit((audit, other)[number % 2].received, PACS, f"1.2.{number}", number)
    assert len(records(path)) == 200


def test_without_a_path_nothing_is_written_and_a_bad_path_stops_nothing(tmp_path: Path) -> None:
    Audit(None, "SBNODE").application(started=True)
    Audit(tmp_path, "SBNODE").application(started=True)
    Audit(tmp_path / "no" / "folder", "SBNODE").deleted("1.2.3")
    assert list(tmp_path.iterdir()) == []
