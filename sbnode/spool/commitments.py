"""Storage commitments in the spool: what others were asked to prove, what they answered, and what is owed to others.

The receiving process and the workers share them as small files, because a report may come hours later, on another
association and to another process than the one that asked (PS3.4 annex J). A file is written under a passing name
beside its own, flushed, and only then given it.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from sbnode.errors import NotUnderstood, SpoolError
from sbnode.series import is_uid
from sbnode.spool import durable

__all__ = ["Commitments", "Failed", "Reference", "Report", "Request"]

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""
Failed = tuple[str, int]
"""SOP Instance UID and Failure Reason (0008,1197); 0 where the report gives none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an archive says of the instances it was asked about: SOP Instance UIDs of those it holds, and the others."""

    transaction_uid: str
    committed: tuple[str, ...]
    failed: tuple[Failed, ...]

    @classmethod
    def of(cls, content: Dataset) -> Report:
        """Read the Event Information of an N-EVENT-REPORT (PS3.4 table J.3-2).

        Raises:
            NotUnderstood: there is no Transaction UID.
        """
        committed, failed = (_references(content, name) for name in ("ReferencedSOPSequence", "FailedSOPSequence"))
        reasons = [item.get("FailureReason") for item in content.get("FailedSOPSequence") or []]
        return cls(
            _transaction_uid(content),
            tuple(uid for _, uid in committed),
            tuple(
                (uid, reason if isinstance(reason, int) else 0)
                for (_, uid), reason in zip(failed, reasons, strict=True)
            ),
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What a sender asked this node to prove."""

    transaction_uid: str
    ae_title: str
    references: tuple[Reference, ...]

    @classmethod
    def of(cls, content: Dataset, ae_title: str) -> Request:
        """Read the Action Information of an N-ACTION (PS3.4 table J.3-1).

        Raises:
            NotUnderstood: there is no Transaction UID, or no instance is named, or one without its UIDs.
        """
        references = _references(content, "ReferencedSOPSequence")
        if not references:
            raise NotUnderstood("a request for storage commitment that names no instance")
        return cls(_transaction_uid(content), ae_title, references)


def _transaction_uid(content: Dataset) -> str:
    uid = str(content.get("TransactionUID") or "")
    if not is_uid(uid):
        raise NotUnderstood("a storage commitment without a Transaction UID")
    return uid


def _references(content: Dataset, keyword: str) -> tuple[Reference, ...]:
    references = [
        (str(item.get("ReferencedSOPClassUID") or ""), str(item.get("ReferencedSOPInstanceUID") or ""))
        for item in content.get(keyword) or []
    ]
    if not all(is_uid(uid) for reference in references for uid in reference):
        raise NotUnderstood("a storage commitment names an instance without its UIDs")
    return tuple(references)


class Commitments:
    """The folders ``commitments/asked``, ``commitments/reported`` and ``commitments/owed`` of a spool."""

    def __init__(self, spool_path: Path) -> None:
        self._asked, self._reported, self._owed = (
            spool_path / "commitments" / name for name in ("asked", "reported", "owed")
        )

    def asked(self, transaction_uid: str) -> bool:
        """Whether ``ask`` was called for this transaction."""
        return _file(self._asked, transaction_uid).exists()

    def ask(self, transaction_uid: str) -> None:
        """Note that an archive is being asked; only such a transaction may be reported."""
        durable.write(_file(self._asked, transaction_uid), json.dumps({}))

    def report(self, report: Report) -> None:
        """Keep an archive's answer, durably."""
        durable.write(_file(self._reported, report.transaction_uid), json.dumps(asdict(report)))

    def reported(self, transaction_uid: str) -> Report | None:
        """Return an archive's answer, if it came."""
        content = _read(_file(self._reported, transaction_uid))
        if content is None:
            return None
        # Older records have the UIDs alone.
        failed = ((one, 0) if isinstance(one, str) else (str(one[0]), int(one[1])) for one in content["failed"])
        return Report(transaction_uid, tuple(content["committed"]), tuple(failed))

    def forget(self, transaction_uid: str) -> None:
        """Remove a transaction and its answer."""
        for folder in (self._asked, self._reported):
            _file(folder, transaction_uid).unlink(missing_ok=True)

    def owe(self, request: Request) -> None:
        """Keep a sender's request until it is answered, durably."""
        durable.write(_file(self._owed, request.transaction_uid), json.dumps(asdict(request)))

    def owed(self) -> tuple[tuple[Request, float], ...]:
        """Return the requests that aren't answered, and for how many seconds each has waited."""
        found = []
        for path in sorted(self._owed.glob("*.json")):
            if not is_uid(path.stem):
                continue
            with suppress(SpoolError, FileNotFoundError):  # one that is damaged must not hold up the others
                content = _read(path) or {}
                references = tuple((str(c), str(i)) for c, i in content.get("references", ()))
                request = Request(path.stem, str(content.get("ae_title")), references)
                found.append((request, time.time() - path.stat().st_mtime))
        return tuple(found)

    def settle(self, transaction_uid: str) -> None:
        """Remove a sender's request that was answered or given up."""
        _file(self._owed, transaction_uid).unlink(missing_ok=True)


def _file(folder: Path, transaction_uid: str) -> Path:
    if not is_uid(transaction_uid):
        raise SpoolError("a Transaction UID is no UID")
    return folder / f"{transaction_uid}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SpoolError(f"commitment {path.name} can't be read: {type(error).__name__}") from error
    return content
