"""Proof that a destination holds what it accepted: its commitment, or that it lists the instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.errors import InvalidDicomError

from sbnode.config import Destination, WebDestination
from sbnode.errors import DeliveryError, DestinationRefused, DestinationUnavailable, SpoolError
from sbnode.results.uids import result_uid
from sbnode.scu import archive, commitment, stow
from sbnode.scu.failure_reason import FailureReason, Remedy
from sbnode.series import SeriesKey
from sbnode.spool import Commitments, Reference, Report

__all__ = ["Answer", "Proof", "Sent", "find_proof"]

Proof = Literal["proven", "waiting", "missing", "unproven"]
"""``proven``: the destination says that it holds every instance; ``missing``: that it doesn't, and time is up;
``waiting``: it may say so later; ``unproven``: it can't be asked.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question; ``reason`` is what the destination's report says of it, empty when it says nothing."""

    proof: Proof
    reason: str = ""


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
) -> Answer:
    """Ask ``destination``, in the way that ``confirm`` names, whether it holds what was sent.

    What isn't there yet may be on its way into a database, and a commitment may be reported later, or be refused for
    the moment only: until ``last`` all that is waited for. Where no report came at all, or the destination does no
    storage commitment, it is asked by C-FIND; never where a report said that it didn't commit.

    Args:
        sent: what it should hold.
        destination: where it was sent.
        calling_ae_title: the node's own.
        commitments: where reports are found that came to the receiving process.
        transaction: names the transactions; the same name again goes on with them.
        last: whether this is the last time.

    Raises:
        DestinationUnavailable: it can't be asked now.
        DestinationRefused: it reported that it will never commit to this object.
    """
    if isinstance(destination, Destination) and destination.confirm == "commitment":
        answer = _Asking(sent, destination, commitments, transaction).answer(calling_ae_title, last=last)
        if answer is not None:
            return answer
    try:
        held = (
            stow.held(sent.series, destination)
            if isinstance(destination, WebDestination)
            else archive.held(sent.series, destination, calling_ae_title)
        )
    except DestinationRefused:
        return Answer("unproven")
    if held.issuperset(uid for _, uid in sent.references):
        return Answer("proven")
    return Answer("missing" if last else "waiting")


class _Asking:
    """The transactions in which a destination is asked to commit to one object, one after the other.

    Each has its own Transaction UID and one report (PS3.4 section J.3.3). After a report that says "not now", the next
    question begins another one. What it refused stays refused until a report takes that back: the last question
    begins none, for its report could come when nobody waits for it any more.
    """

    def __init__(self, sent: Sent, destination: Destination, commitments: Commitments, name: str) -> None:
        self._sent = sent
        self._destination = destination
        self._commitments = commitments
        self._name = name
        self._number = 1
        self._not_now = ""
        """What the last report said; empty when none came."""
        while (report := commitments.reported(self._uid)) is not None:
            remedy, reason = _judged(report, sent)
            if remedy != Remedy.ASK:
                break
            self._number += 1
            self._not_now = reason

    @property
    def _uid(self) -> str:
        return self._uid_of(self._number)

    def _uid_of(self, number: int) -> str:
        return result_uid(self._name, "commitment" if number == 1 else f"commitment.{number}")

    def answer(self, calling_ae_title: str, *, last: bool) -> Answer | None:
        """Return what the destination reports; None where it never reported and knows no commitment, or time is up.

        Raises:
            DestinationUnavailable: it can't be asked now.
            DestinationRefused: it will never commit to this object.
        """
        going_on = False
        try:
            answer = self._answer(calling_ae_title, last=last)
            going_on = answer is not None and answer.proof == "waiting"
        except DestinationUnavailable:
            going_on = not last
            raise
        finally:
            if not going_on:
                self._forget()
        return answer

    def _answer(self, calling_ae_title: str, *, last: bool) -> Answer | None:
        try:
            report = self._report(calling_ae_title, last=last)
        except DestinationRefused:
            return self._not_yet(last=last) if self._not_now else None
        if report is None:
            return None if last and not self._not_now else self._not_yet(last=last)
        remedy, reason = _judged(report, self._sent)
        if remedy is None:
            return Answer("proven")
        if remedy == Remedy.NONE:
            raise DestinationRefused(
                f"'{self._destination.name}' {reason}. Leave this object out of destinations.objects, or set another"
                " destinations.confirm, and retry"
            )
        return Answer("waiting" if remedy == Remedy.ASK and not last else "missing", reason)

    def _report(self, calling_ae_title: str, *, last: bool) -> Report | None:
        report = self._commitments.reported(self._uid)
        if report is not None or self._commitments.asked(self._uid) or (last and self._not_now):
            return report
        return self._ask(calling_ae_title)

    def _not_yet(self, *, last: bool) -> Answer:
        return Answer("missing" if last else "waiting", self._not_now)

    def _ask(self, calling_ae_title: str) -> Report | None:
        self._commitments.ask(self._uid)
        try:
            report = commitment.request(self._sent.references, self._uid, self._destination, calling_ae_title)
        except DeliveryError:
            self._commitments.forget(self._uid)
            raise
        if report is not None:
            self._commitments.report(report)
        return report

    def _forget(self) -> None:
        for number in range(1, self._number + 1):
            self._commitments.forget(self._uid_of(number))


def _judged(report: Report, sent: Sent) -> tuple[Remedy | None, str]:
    """Return what helps, and what was reported in words; None and nothing when all is committed.

    What the report doesn't name at all isn't held, nor what it names both as committed and as failed.
    """
    uids = {uid for _, uid in sent.references}
    failed = uids.intersection(uid for uid, _ in report.failed)
    unnamed = uids.difference(report.committed, failed)
    if not (failed or unnamed):
        return None, ""
    reasons = {FailureReason.of(number) for uid, number in report.failed if uid in failed}
    if unnamed:
        reasons.add(FailureReason.of(0))
    words = ", ".join(sorted(map(str, reasons)))
    remedy = min((reason.remedy for reason in reasons), key=lambda one: one.value)
    return remedy, f"did not commit to {len(failed | unnamed)} of {len(uids)} instances: {words}"
