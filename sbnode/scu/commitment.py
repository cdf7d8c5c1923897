"""Storage Commitment (PS3.4 annex J): asking an archive to prove what it holds, and proving it to those who ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from threading import Event

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from sbnode.config import Peer
from sbnode.errors import DestinationRefused, DestinationUnavailable
from sbnode.scu.association import association
from sbnode.scu.failure_reason import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE, FailureReason
from sbnode.spool import Held, Reference, Report, Request

__all__ = ["PUSH_MODEL_INSTANCE", "prove", "request"]

PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model SOP Instance (PS3.4 J.3.5)."""
_REQUEST = 1
"""Action Type ID "Request Storage Commitment" (PS3.4 J.3.2.1)."""
_ALL_STORED, _SOME_MISSING = 1, 2
"""Event Type IDs (PS3.4 J.3.3.1)."""
_SAME_ASSOCIATION_S = 2.0
"""So long a report is awaited on the association of the request; later ones come on one of their own."""


def request(references: Sequence[Reference], transaction_uid: str, peer: Peer, calling_ae_title: str) -> Report | None:
    """Ask ``peer`` to commit to the storage of ``references`` (N-ACTION); return its report if it comes at once.

    An answer that was lost counts as a request that was taken: its report will tell.

    Raises:
        DestinationUnavailable: no connection, or a status that says it can't now.
        DestinationRefused: it doesn't do storage commitment.
    """
    content = Dataset()
    content.TransactionUID = transaction_uid
    content.ReferencedSOPSequence = [_item(reference) for reference in references]
    reports: list[Report] = []
    came = Event()

    def on_report(event: evt.Event) -> tuple[int, None]:
        report = Report.of(event.event_information)
        if report.transaction_uid == transaction_uid:
            reports.append(report)
            came.set()
        return 0x0000, None

    context = build_context(StorageCommitmentPushModel)
    with association(peer, [context], calling_ae_title, handlers=[(evt.EVT_N_EVENT_REPORT, on_report)]) as established:
        answer, _ = established.send_n_action(content, _REQUEST, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE)
        if answer.get("Status") is not None:
            _require_success(answer, peer, "N-ACTION")
        came.wait(_SAME_ASSOCIATION_S)
    return reports[0] if reports else None


def prove(request: Request, held: Held, peer: Peer, calling_ae_title: str) -> Counter[FailureReason]:
    """Report to ``peer`` which of the instances that it asked about are held (N-EVENT-REPORT, as SCP).

    One that is stored under another SOP Class than the request names is a conflict, not a commitment; one of which the
    device doesn't tell is a processing failure, so that it is asked again.

    Returns:
        Why instances failed, and how many.

    Raises:
        DestinationUnavailable: no connection, no answer in time, or another status than success.
        DestinationRefused: it takes no reports.
    """
    content = Dataset()
    content.TransactionUID = request.transaction_uid
    failures = {reference: number for reference in request.references if (number := _failure(reference, held))}
    stored = [_item(reference) for reference in request.references if reference not in failures]
    if stored:
        content.ReferencedSOPSequence = stored
    if failures:
        content.FailedSOPSequence = [_item(reference, number) for reference, number in failures.items()]
    event_type = _SOME_MISSING if failures else _ALL_STORED
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    context = build_context(StorageCommitmentPushModel)
    with association(peer, [context], calling_ae_title, roles=[role]) as established:
        answer = _sent_report(established, content, event_type, peer)
        _require_success(answer, peer, "N-EVENT-REPORT")
    return Counter(FailureReason.of(number) for number in failures.values())


def _failure(reference: Reference, held: Held) -> int:
    """Return the Failure Reason of an instance; 0 when it is held."""
    sop_class_uid, sop_instance_uid = reference
    sop_classes = held.sop_classes.get(sop_instance_uid, frozenset())
    if sop_class_uid in sop_classes:
        return 0
    if sop_instance_uid in held.unknown:
        return PROCESSING_FAILURE
    return CLASS_INSTANCE_CONFLICT if sop_classes else NO_SUCH_INSTANCE


def _sent_report(established: Association, content: Dataset, event_type: int, peer: Peer) -> Dataset:
    try:
        answer, _ = established.send_n_event_report(
            content, event_type, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE
        )
    except ValueError as error:
        # pynetdicom's word for a role that was not granted.
        raise DestinationRefused(f"'{peer.name}' takes no storage commitment reports") from error
    return answer


def _item(reference: Reference, failure_reason: int = 0) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    if failure_reason:
        item.FailureReason = failure_reason
    return item


def _require_success(answer: Dataset, peer: Peer, what: str) -> None:
    status = answer.get("Status")
    if status is None:
        raise DestinationUnavailable(f"'{peer.name}' gave no answer to {what} within {peer.timeout_s:g} s")
    if status != 0x0000:
        raise DestinationUnavailable(f"'{peer.name}' answered 0x{status:04X} to {what}")
