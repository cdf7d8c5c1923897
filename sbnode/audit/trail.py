"""Where the events of the node become records: in a file, and at a syslog server."""

from __future__ import annotations

import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

from sbnode.audit.record import ActiveParticipant, Code, Participant, Record, Study, to_json
from sbnode.audit.syslog import SyslogSender
from sbnode.config import AuditTrail
from sbnode.errors import unusable
from sbnode.log import fault, get_logger

__all__ = ["Audit"]

_SUCCESS, _MINOR_FAILURE, _SERIOUS_FAILURE = 0, 4, 8
"""Event Outcome Indicator (PS3.15 section A.5.1)."""

_APPLICATION = Code("110100", "Application Activity")
_STARTED, _STOPPED = Code("110120", "Application Start"), Code("110121", "Application Stop")
_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
_DELETED = Code("110105", "DICOM Study Deleted")
_ALERT, _AUTHENTICATION = Code("110113", "Security Alert"), Code("110126", "Node Authentication")
_EXPORT, _RESTRICTED = Code("110106", "Export"), Code("110132", "Use of Restricted Function")
_MEDIA = Code("110154", "Destination Media")
_SOURCE, _DESTINATION = Code("110153", "Source Role ID"), Code("110152", "Destination Role ID")
_ITSELF = Code("110150", "Application")


class Audit:
    """Makes one record per event. Safe for threads, and for several processes with the same file.

    Nothing that is recorded waits for the record, or fails because of it.

    Args:
        path: a file that records are appended to, made readable for its owner only; None: none.
        ae_title: the node's own.
        syslog: sends the records on; closed with the trail. None: nobody does.
    """

    def __init__(self, path: Path | None, ae_title: str, syslog: SyslogSender | None = None) -> None:
        self._path = path
        self._ae_title = ae_title
        self._syslog = syslog
        self._lock = threading.Lock()

    @classmethod
    def open(cls, settings: AuditTrail, ae_title: str) -> Audit:
        """Return the trail that ``settings`` describe.

        Raises:
            ConfigError: a certificate or key for the syslog server can't be used.
        """
        return cls(settings.path, ae_title, SyslogSender(settings.syslog) if settings.syslog else None)

    def require(self) -> None:
        """Make sure that records can be appended to the file, if there is one.

        Raises:
            ConfigError, SpoolError: they can't.
        """
        if self._path is None:
            return
        try:
            os.close(self._opened(self._path))
        except OSError as error:
            raise unusable(f"audit.path: {self._path}", error) from error

    def close(self) -> None:
        """Send what the syslog server has not got yet, for a few seconds."""
        if self._syslog is not None:
            self._syslog.close()

    def application(self, *, started: bool) -> None:
        """A process of the node started or stopped."""
        self._record(_APPLICATION, "E", _SUCCESS, self._me(_ITSELF), kind=_STARTED if started else _STOPPED)

    def rejected(self, peer: Participant) -> None:
        """An association was rejected: an unknown title, or from elsewhere, or another than the node's was called."""
        participants = (self._me(_ITSELF), _active(peer, _SOURCE, requestor=True))
        self._record(_ALERT, "E", _MINOR_FAILURE, *participants, kind=_AUTHENTICATION)

    def received(self, sender: Participant, study_instance_uid: str, instances: int) -> None:
        """An association ended that added instances of a study."""
        participants = (_active(sender, _SOURCE, requestor=True), self._me(_DESTINATION))
        self._record(_TRANSFERRED, "C", _SUCCESS, *participants, study=Study(study_instance_uid, instances))

    def sent(self, receiver: Participant, study_instance_uid: str, instances: int, *, accepted: bool) -> None:
        """Result instances of a study were sent, and accepted or not."""
        participants = (self._me(_SOURCE, requestor=True), _active(receiver, _DESTINATION))
        outcome = _SUCCESS if accepted else _SERIOUS_FAILURE
        self._record(_TRANSFERRED, "R", outcome, *participants, study=Study(study_instance_uid, instances))

    def deleted(self, study_instance_uid: str) -> None:
        """A study was deleted from the spool."""
        self._record(_DELETED, "D", _SUCCESS, self._me(_ITSELF, requestor=True), study=Study(study_instance_uid))

    def exported(self, user: Participant, study_instance_uid: str | None) -> None:
        """Somebody fetched a result of a study over HTTP (PS3.15 section A.5.3.4)."""
        participants = (
            ActiveParticipant(user.ae_title, _DESTINATION, user.address, requestor=True, entity=False),
            self._me(_SOURCE),
            ActiveParticipant("browser", _MEDIA, user.address, entity=False),
        )
        study = None if study_instance_uid is None else Study(study_instance_uid)
        self._record(_EXPORT, "R", _SUCCESS, *participants, study=study)

    def retried(self, user: Participant, study_instance_uid: str | None) -> None:
        """Somebody had work started again that had failed."""
        self._used(user, study_instance_uid, "failed work started again")

    def dismissed(self, user: Participant, study_instance_uid: str | None, reason: str) -> None:
        """Somebody put failed work away, for a ``reason`` that is a word of the node's own."""
        self._used(user, study_instance_uid, f"failed work dismissed: {reason}")

    def _used(self, user: Participant, study_instance_uid: str | None, alert: str) -> None:
        """Somebody did what not everybody may (PS3.15 section A.5.3.11: an informative alert)."""
        person = ActiveParticipant(user.ae_title, _ITSELF, user.address, requestor=True, entity=False)
        study = None if study_instance_uid is None else Study(study_instance_uid, alert=alert)
        self._record(_ALERT, "E", _SUCCESS, self._me(_ITSELF), person, kind=_RESTRICTED, study=study)

    def _me(self, role: Code, *, requestor: bool = False) -> ActiveParticipant:
        return ActiveParticipant(self._ae_title, role, requestor=requestor)

    def _record(
        self,
        event: Code,
        action: str,
        outcome: int,
        *participants: ActiveParticipant,
        kind: Code | None = None,
        study: Study | None = None,
    ) -> None:
        if self._path is None and self._syslog is None:
            return
        record = Record(
            event=event,
            action=action,
            outcome=outcome,
            at=datetime.now(UTC),
            participants=participants,
            source=socket.gethostname(),
            process_id=os.getpid(),
            kind=kind,
            study=study,
        )
        if self._path is not None:
            self._append(self._path, to_json(record))
        if self._syslog is not None:
            self._syslog.put(record)

    @staticmethod
    def _opened(path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _append(self, path: Path, line: str) -> None:
        try:
            with self._lock:
                descriptor = self._opened(path)
                try:
                    os.write(descriptor, f"{line}\n".encode())  # one write: records of several processes don't mix
                finally:
                    os.close(descriptor)
        except OSError as error:
            # Neither reception nor delivery may stop for it.
            get_logger().error("audit_not_written", **fault(error))


def _active(peer: Participant, role: Code, *, requestor: bool = False) -> ActiveParticipant:
    return ActiveParticipant(peer.ae_title, role, peer.address, requestor)
