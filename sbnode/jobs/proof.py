"""Proof that a destination holds what it accepted: its commitment, or that it lists the instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.errors import InvalidDicomError

from sbnode.config import Destination, WebDestination
from sbnode.errors import DeliveryError, DestinationRefused, SpoolError
from sbnode.results.uids import result_uid
from sbnode.scu import archive, commitment, stow
from sbnode.series import SeriesKey
from sbnode.spool import Commitments, Reference

__all__ = ["Proof", "Sent", "find_proof"]

Proof = Literal["proven", "waiting", "missing", "unproven"]
"""``proven``: the destination says that it holds every instance; ``missing``: that it doesn't; ``waiting``: it was
asked and may answer later; ``unproven``: it can't be asked.
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """The instances of one object of a job: one, or the pictures of a series."""

    series: SeriesKey
    references: tuple[Reference, ...]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Sent:
        """Read the files' headers.

        Raises:
            SpoolError: a file is missing or isn't DICOM.
        """
        try:
            headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
        except (OSError, InvalidDicomError) as error:
            raise SpoolError(f"result {paths[0].name} is missing or unreadable: {type(error).__name__}") from error
        key = SeriesKey(str(headers[0].StudyInstanceUID), str(headers[0].SeriesInstanceUID))
        return cls(key, tuple((str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in headers))


def find_proof(
    sent: Sent,
    destination: Destination | WebDestination,
    calling_ae_title: str,
    commitments: Commitments,
    *,
    transaction: str,
    last: bool,
) -> Proof:
    """Ask ``destination``, in the way that ``confirm`` names, whether it holds what was sent.

    A commitment that isn't reported stays ``waiting``; ``last`` gives up on the report, and asks by C-FIND instead. So
    it is with a destination that does no storage commitment at all.

    Args:
        sent: what it should hold.
        destination: where it was sent.
        calling_ae_title: the node's own.
        commitments: where reports are found that came to the receiving process.
        transaction: names the transaction; the same name again is the same transaction.
        last: whether this is the last time.

    Raises:
        DestinationUnavailable: it can't be asked now.
    """
    if isinstance(destination, WebDestination):
        return _listed(sent, stow.held(sent.series, destination))
    if destination.confirm == "commitment":
        uid = result_uid(transaction, "commitment")
        report = _report(sent, destination, calling_ae_title, commitments, uid)
        if report is not None and not (last and report == "waiting"):
            return report
        commitments.forget(uid)
    try:
        return _listed(sent, archive.held(sent.series, destination, calling_ae_title))
    except DestinationRefused:
        return "unproven"


def _report(
    sent: Sent, destination: Destination, calling_ae_title: str, commitments: Commitments, uid: str
) -> Proof | None:
    """What the destination reported; None where it does no storage commitment."""
    report = commitments.reported(uid)
    if report is None and commitments.asked(uid):
        return "waiting"
    if report is None:
        commitments.ask(uid)
        try:
            report = commitment.request(sent.references, uid, destination, calling_ae_title)
        except DestinationRefused:
            commitments.forget(uid)
            return None
        except DeliveryError:
            commitments.forget(uid)
            raise
        if report is None:
            return "waiting"
    commitments.forget(uid)
    return _listed(sent, frozenset(report.committed))


def _listed(sent: Sent, held: frozenset[str]) -> Proof:
    return "proven" if held.issuperset(uid for _, uid in sent.references) else "missing"
