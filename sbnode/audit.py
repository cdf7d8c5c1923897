"""The audit trail: who sent what, and what went where, as JSON lines with the events of IHE ATNA (PS3.15 annex A.5).

Studies are named by their Study Instance UID, as ATNA asks. Nothing else of a data set stands in it: no name or ID of a
patient.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sbnode.log import fault, get_logger

__all__ = ["Audit", "Participant"]

Code = dict[str, str]

_SUCCESS, _MINOR_FAILURE, _SERIOUS_FAILURE = 0, 4, 8
"""Event Outcome Indicator (RFC 3881 section 5.1.4)."""


def _dcm(value: str, meaning: str) -> Code:
    return {"code": value, "scheme": "DCM", "meaning": meaning}


_APPLICATION = _dcm("110100", "Application Activity")
_STARTED, _STOPPED = _dcm("110120", "Application Start"), _dcm("110121", "Application Stop")
_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
_DELETED = _dcm("110105", "DICOM Study Deleted")
_ALERT, _AUTHENTICATION = _dcm("110113", "Security Alert"), _dcm("110126", "Node Authentication")
_SOURCE, _DESTINATION = _dcm("110153", "Source Role ID"), _dcm("110152", "Destination Role ID")
_ITSELF = _dcm("110150", "Application")
_STUDY = _dcm("110180", "Study Instance UID")


@dataclass(frozen=True, slots=True)
class Participant:
    """Another Application Entity, and where it is on the network."""

    ae_title: str
    address: str


class Audit:
    """Appends one record per event to a file. Safe for threads, and for several processes with the same file.

    Args:
        path: the file, made readable for its owner only; None: no audit trail.
        ae_title: the node's own.
    """

    def __init__(self, path: Path | None, ae_title: str) -> None:
        self._path = path
        self._ae_title = ae_title
        self._lock = threading.Lock()

    def application(self, *, started: bool) -> None:
        """A process of the node started or stopped."""
        type_code = _STARTED if started else _STOPPED
        self._record(_APPLICATION, "E", _SUCCESS, [self._me(_ITSELF)], type_code=type_code)

    def rejected(self, peer: Participant) -> None:
        """An association was rejected: an unknown title, or another than the node's was called."""
        self._record(_ALERT, "E", _MINOR_FAILURE, [_active(peer, _SOURCE)], type_code=_AUTHENTICATION)

    def received(self, sender: Participant, study_instance_uid: str, instances: int) -> None:
        """An association ended that added instances of a study."""
        participants = [_active(sender, _SOURCE), self._me(_DESTINATION)]
        self._record(_TRANSFERRED, "C", _SUCCESS, participants, study=_study(study_instance_uid, instances))

    def sent(self, receiver: Participant, study_instance_uid: str, instances: int, *, accepted: bool) -> None:
        """Result instances of a study were sent, and accepted or not."""
        participants = [self._me(_SOURCE), _active(receiver, _DESTINATION)]
        outcome = _SUCCESS if accepted else _SERIOUS_FAILURE
        self._record(_TRANSFERRED, "R", outcome, participants, study=_study(study_instance_uid, instances))

    def deleted(self, study_instance_uid: str) -> None:
        """A study was deleted from the spool."""
        self._record(_DELETED, "D", _SUCCESS, [self._me(_ITSELF)], study=_study(study_instance_uid, None))

    def _me(self, role: Code) -> dict[str, object]:
        return {"UserID": self._ae_title, "RoleIDCode": role}

    def _record(
        self,
        event_id: Code,
        action: str,
        outcome: int,
        participants: list[dict[str, object]],
        *,
        type_code: Code | None = None,
        study: dict[str, object] | None = None,
    ) -> None:
        if self._path is None:
            return
        record: dict[str, object] = {
            "EventID": event_id,
            "EventActionCode": action,
            "EventDateTime": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "EventOutcomeIndicator": outcome,
            **({"EventTypeCode": type_code} if type_code else {}),
            "ActiveParticipant": participants,
            "AuditSource": {"AuditSourceID": socket.gethostname(), "ProcessID": os.getpid()},
            **({"ParticipantObject": [study]} if study else {}),
        }
        line = (json.dumps(record) + "\n").encode()
        try:
            with self._lock:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(descriptor, line)  # one write: records of several processes don't mix
                finally:
                    os.close(descriptor)
        except OSError as error:
            # Neither reception nor delivery may stop for it.
            get_logger().error("audit_not_written", **fault(error))


def _active(peer: Participant, role: Code) -> dict[str, object]:
    return {"UserID": peer.ae_title, "NetworkAccessPointID": peer.address, "RoleIDCode": role}


def _study(study_instance_uid: str, instances: int | None) -> dict[str, object]:
    found: dict[str, object] = {
        "ParticipantObjectTypeCode": 2,
        "ParticipantObjectTypeCodeRole": 3,
        "ParticipantObjectIDTypeCode": _STUDY,
        "ParticipantObjectID": study_instance_uid,
    }
    return found if instances is None else {**found, "NumberOfInstances": instances}
