"""One record, as JSON and as the XML of PS3.15 section A.5.1."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sbnode.audit.record import ActiveParticipant, Code, Record, Study, to_json, to_xml
from tests.audit.schema import parsed

SOURCE, DESTINATION = Code("110153", "Source Role ID"), Code("110152", "Destination Role ID")


def record(ae_title: str = "PACS", address: str = "192.0.2.1", instances: int | None = 50) -> Record:
    return Record(
        event=Code("110104", "DICOM Instances Transferred"),
        action="C",
        outcome=0,
        at=datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC),
        participants=(ActiveParticipant(ae_title, SOURCE, address, True), ActiveParticipant("SBNODE", DESTINATION)),
        source="radiology-1",
        process_id=4711,
        study=Study("1.2.3", instances),
    )


def test_the_xml_is_an_audit_message() -> None:
    message = parsed(to_xml(record()))
    event = message.find("EventIdentification")
    assert event is not None
    assert event.attrib == {
        "EventActionCode": "C",
        "EventDateTime": "2026-11-24T12:00:00.123+00:00",
        "EventOutcomeIndicator": "0",
    }
    code = event.find("EventID")
    assert code is not None
    assert code.attrib == {
        "csd-code": "110104",
        "codeSystemName": "DCM",
        "originalText": "DICOM Instances Transferred",
    }
    sender, node = message.findall("ActiveParticipant")
    assert sender.attrib == {
        "UserID": "PACS",
        "AlternativeUserID": "AETITLES=PACS",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "192.0.2.1",
        "NetworkAccessPointTypeCode": "2",
    }
    assert (node.get("UserID"), node.get("UserIsRequestor")) == ("SBNODE", "false")
    study = message.find("ParticipantObjectIdentification")
    assert study is not None
    assert (study.get("ParticipantObjectID"), study.get("ParticipantObjectTypeCode")) == ("1.2.3", "2")
    counted = study.find("ParticipantObjectDescription/SOPClass")
    assert counted is not None
    assert counted.attrib == {"NumberOfInstances": "50"}


def test_an_alert_says_what_it_is_about() -> None:
    alert = replace(record(), study=Study("1.2.3", alert="failed work dismissed: test"))
    detail = parsed(to_xml(alert)).find("ParticipantObjectIdentification/ParticipantObjectDetail")
    assert detail is not None
    assert (detail.get("type"), b64decode(str(detail.get("value")))) == (
        "Alert Description",
        b"failed work dismissed: test",
    )


def test_json_and_xml_say_the_same() -> None:
    line = json.loads(to_json(record()))
    message = parsed(to_xml(record()))
    event = message.find("EventIdentification")
    assert event is not None
    assert line["EventDateTime"] == event.get("EventDateTime")
    assert [p["UserID"] for p in line["ActiveParticipant"]] == [
        p.get("UserID") for p in message.findall("ActiveParticipant")
    ]
    assert line["AuditSource"]["AuditSourceID"] == "radiology-1"
    assert message.find("AuditSourceIdentification").attrib == {"AuditSourceID": "radiology-1"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("192.0.2.1", "2"),
        ("2001:db8::1", "2"),
        ("pacs.example.org", "1"),
        ("https://archive.example.org/dicom-web", "5"),
    ],
)
def test_where_a_participant_is_has_its_kind(address: str, code: str) -> None:
    participant = parsed(to_xml(record(address=address))).find("ActiveParticipant")
    assert participant is not None
    assert participant.get("NetworkAccessPointTypeCode") == code


@pytest.mark.parametrize("title", ["<&\"'>", "\x00\x07\x1f", "\ud800\uffff", "]]>\n\t"])
def test_a_hostile_ae_title_makes_no_other_xml(title: str) -> None:
    message = to_xml(record(title))
    message.encode()
    sender = parsed(message).find("ActiveParticipant")
    assert sender is not None
    assert len(sender.get("UserID", "")) == len(title)
    assert json.loads(to_json(record(title)))["ActiveParticipant"][0]["UserID"] == title


def test_a_study_of_unknown_size_has_no_number() -> None:
    message = parsed(to_xml(record(instances=None)))
    assert message.find("ParticipantObjectIdentification/ParticipantObjectDescription") is None
    assert "NumberOfInstances" not in to_json(record(instances=None))


def test_a_person_has_no_ae_title() -> None:
    person = ActiveParticipant("radiology", DESTINATION, "192.0.2.7", requestor=True, entity=False)
    message = parsed(to_xml(replace(record(), participants=(person,))))
    participant = message.find("ActiveParticipant")
    assert participant is not None
    assert participant.get("UserID") == "radiology"
    assert "AlternativeUserID" not in participant.attrib
