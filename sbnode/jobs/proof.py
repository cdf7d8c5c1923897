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
"""``proven``: the destination says that it holds every instance; ``missing``: that it doesn't, and time is up;
``waiting``: it may say so later; ``unproven``: it can't be asked.
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

    What isn't there yet may be on its way into a database, and a commitment may be reported later: until ``last`` both
    are waited for. Where no report came, or the destination does no storage commitment at all, it is asked by C-FIND.

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
    if isinstance(destination, Destination) and destination.confirm == "commitment":
        uid = result_uid(transaction, "commitment")
        report = _report(sent, destination, calling_ae_title, commitments, uid)
        if report == "waiting" and not last:
            return report
        commitments.forget(uid)
        if report in ("proven", "missing"):
            return report
    try:
        held = (
            stow.held(sent.series, destination)
            if isinstance(destination, WebDestination)
            else archive.held(sent.series, destination, calling_ae_title)
        )
    except DestinationRefused:
        return "unproven"
    proof = _listed(sent, held)
    return "waiting" if proof == "missing" and not last else proof


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
            return None
        except DeliveryError:
            commitments.forget(uid)
            raise
        if report is None:
            return "waiting"
    return _listed(sent, frozenset(report.committed))


def _listed(sent: Sent, held: frozenset[str]) -> Proof:
    return "proven" if held.issuperset(uid for _, uid in sent.references) else "missing"
