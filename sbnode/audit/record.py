"""A record of the audit trail, and how it is written: as a line of JSON, or as the XML of PS3.15 section A.5.1.

Studies are named by their Study Instance UID, as ATNA asks. Nothing else of a data set stands in a record: no name or
ID of a patient.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["ActiveParticipant", "Code", "Participant", "Record", "Study", "to_json", "to_xml"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) can't hold. A caller may name itself by any bytes."""

_SYSTEM_OBJECT, _REPORT = "2", "3"
"""Participant Object Type Code, and its Role (PS3.15 section A.5.1.2.2)."""
_MACHINE_NAME, _IP_ADDRESS, _URI = "1", "2", "5"
"""Network Access Point Type Code (PS3.15 section A.5.1)."""
_DESCRIPTION = "Alert Description"
_APPLICATION_SERVER = "4"
"""Audit Source Type Code (PS3.15 section A.5.1.2.1)."""


@dataclass(frozen=True, slots=True)
class Participant:
    """Another Application Entity, and where it is on the network: IP address, host name or URL."""

    ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class Code:
    """A code of the DICOM Controlled Terminology (PS3.16 annex D)."""

    value: str
    meaning: str


STUDY_INSTANCE_UID = Code("110180", "Study Instance UID")


@dataclass(frozen=True, slots=True)
class ActiveParticipant:
    """Who took part in an event; ``address`` is None for the node itself.

    A person at a browser has the name they logged in with in place of an AE title, and is no ``entity``.
    """

    ae_title: str
    role: Code
    address: str | None = None
    requestor: bool = False
    entity: bool = True


@dataclass(frozen=True, slots=True)
class Study:
    """What an event was about: a study, and how many of its instances where that is known.

    ``alert`` says what a Security Alert is about (PS3.15 section A.5.3.11, Alert Description).
    """

    uid: str
    instances: int | None = None
    alert: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One event. ``at`` is in UTC; ``source`` is the host and ``process_id`` the process that reports it."""

    event: Code
    action: str
    outcome: int
    at: datetime
    participants: tuple[ActiveParticipant, ...]
    source: str
    process_id: int
    kind: Code | None = None
    study: Study | None = None

    @property
    def time(self) -> str:
        """``at``, as RFC 3339 writes it, in milliseconds."""
        return self.at.isoformat(timespec="milliseconds")


def to_json(record: Record) -> str:
    """Return the record as one line of JSON, with the names of PS3.15 section A.5.2."""
    study = record.study
    content: dict[str, object] = {
        "EventID": _coded(record.event),
        "EventActionCode": record.action,
        "EventDateTime": record.time,
        "EventOutcomeIndicator": record.outcome,
        **({"EventTypeCode": _coded(record.kind)} if record.kind else {}),
        "ActiveParticipant": [_participant(participant) for participant in record.participants],
        "AuditSource": {"AuditSourceID": record.source, "ProcessID": record.process_id},
    }
    if study is not None:
        found: dict[str, object] = {
            "ParticipantObjectTypeCode": int(_SYSTEM_OBJECT),
            "ParticipantObjectTypeCodeRole": int(_REPORT),
            "ParticipantObjectIDTypeCode": _coded(STUDY_INSTANCE_UID),
            "ParticipantObjectID": study.uid,
            **({} if study.instances is None else {"NumberOfInstances": study.instances}),
            **({"ParticipantObjectDetail": [{"type": _DESCRIPTION, "value": study.alert}]} if study.alert else {}),
        }
        content["ParticipantObject"] = [found]
    return json.dumps(content)


def to_xml(record: Record) -> str:
    """Return the record as an Audit Message by the schema of PS3.15 section A.5.1, without a byte order mark."""
    message = Element("AuditMessage")
    event = SubElement(
        message,
        "EventIdentification",
        EventActionCode=record.action,
        EventDateTime=record.time,
        EventOutcomeIndicator=str(record.outcome),
    )
    _add_code(event, "EventID", record.event)
    if record.kind is not None:
        _add_code(event, "EventTypeCode", record.kind)
    for participant in record.participants:
        _add_participant(message, participant)
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID=_text(record.source))
    SubElement(source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    if record.study is not None:
        _add_study(message, record.study)
    return '<?xml version="1.0" encoding="UTF-8"?>' + tostring(message, encoding="unicode")


def _coded(code: Code) -> dict[str, str]:
    return {"code": code.value, "scheme": "DCM", "meaning": code.meaning}


def _participant(participant: ActiveParticipant) -> dict[str, object]:
    return {
        "UserID": participant.ae_title,
        "UserIsRequestor": participant.requestor,
        "RoleIDCode": _coded(participant.role),
        **({} if participant.address is None else {"NetworkAccessPointID": participant.address}),
    }


def _add_code(parent: Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": "DCM", "originalText": code.meaning}
    SubElement(parent, name, attributes)


def _add_participant(message: Element, participant: ActiveParticipant) -> None:
    title = _text(participant.ae_title)
    attributes = {"UserID": title, "UserIsRequestor": "true" if participant.requestor else "false"}
    if participant.entity:
        attributes["AlternativeUserID"] = f"AETITLES={title}"  # PS3.15 section A.5.2.2
    if participant.address is not None:
        attributes["NetworkAccessPointID"] = _text(participant.address)
        attributes["NetworkAccessPointTypeCode"] = _access_point(participant.address)
    _add_code(SubElement(message, "ActiveParticipant", attributes), "RoleIDCode", participant.role)


def _add_study(message: Element, study: Study) -> None:
    found = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(study.uid),
        ParticipantObjectTypeCode=_SYSTEM_OBJECT,
        ParticipantObjectTypeCodeRole=_REPORT,
    )
    _add_code(found, "ParticipantObjectIDTypeCode", STUDY_INSTANCE_UID)
    # The schema asks for a name or a query. A study has no name.
    SubElement(found, "ParticipantObjectName").text = _text(study.uid)
    if study.alert:
        value = b64encode(study.alert.encode()).decode()
        SubElement(found, "ParticipantObjectDetail", type=_DESCRIPTION, value=value)
    if study.instances is not None:
        description = SubElement(found, "ParticipantObjectDescription")
        SubElement(description, "SOPClass", NumberOfInstances=str(study.instances))


def _access_point(address: str) -> str:
    if "://" in address:
        return _URI
    try:
        ip_address(address)
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS


def _text(value: str) -> str:
    return _NOT_XML.sub("\ufffd", value)
