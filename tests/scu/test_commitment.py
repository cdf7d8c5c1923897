"""Storage Commitment with pynetdicom as the archive, and as a sender that asks the node."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from sbnode.config import Destination
from sbnode.errors import DestinationRefused, DestinationUnavailable
from sbnode.scu import commitment
from sbnode.scu.failure_reason import FailureReason
from sbnode.spool import Held, Report, Request
from tests.integration.peers import HOST, free_port

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
UID = "1.2.826.0.1.3680043.10.2"
REFERENCES = ((CT, "1.2.3"), (CT, "1.2.4"))

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def serve() -> Iterator[Callable[..., Destination]]:
    """Starts an archive with the handlers of a test; ``commits=False``: it knows no storage commitment."""
    servers: list[Any] = []

    def start(handlers: list[Any], *, commits: bool = True, roles: bool = True) -> Destination:
        entity = AE(ae_title="ARCHIVE")
        entity.add_supported_context(Verification)
        if commits:
            entity.add_supported_context(StorageCommitmentPushModel, scu_role=roles or None, scp_role=roles or None)
        port = free_port()
        servers.append(entity.start_server((HOST, port), block=False, evt_handlers=handlers))
        return Destination(name="archive", ae_title="ARCHIVE", host=HOST, port=port, timeout_s=5)

    yield start
    for server in servers:
        server.shutdown()


def report_of(content: Dataset, missing: int = 0) -> Dataset:
    answer = Dataset()
    answer.TransactionUID = content.TransactionUID
    items = list(content.ReferencedSOPSequence)
    answer.ReferencedSOPSequence = items[missing:]
    if missing:
        answer.FailedSOPSequence = items[:missing]
        for item in answer.FailedSOPSequence:
            item.FailureReason = 0x0112
    return answer


@pytest.mark.parametrize("missing", [0, 1])
def test_a_report_on_the_same_association_is_the_answer(serve: Callable[..., Destination], missing: int) -> None:
    def on_action(event: evt.Event) -> tuple[int, None]:
        content = report_of(event.action_information, missing)
        assert event.action_type == 1
        assert event.request.RequestedSOPInstanceUID == commitment.PUSH_MODEL_INSTANCE

        def report() -> None:
            event.assoc.send_n_event_report(
                content, 2 if missing else 1, StorageCommitmentPushModel, commitment.PUSH_MODEL_INSTANCE
            )

        threading.Timer(0.2, report).start()
        return 0x0000, None

    archive = serve([(evt.EVT_N_ACTION, on_action)], roles=False)
    answer = commitment.request(REFERENCES, UID, archive, "SBNODE")
    assert answer == Report(UID, ("1.2.3", "1.2.4")[missing:], (("1.2.3", 0x0112),)[:missing])


def test_a_report_that_comes_later_is_not_waited_for(serve: Callable[..., Destination]) -> None:
    assert commitment.request(REFERENCES, UID, serve([(evt.EVT_N_ACTION, lambda _: (0x0000, None))]), "SBNODE") is None


def test_a_lost_answer_counts_as_a_request_that_was_taken(serve: Callable[..., Destination]) -> None:
    def on_action(event: evt.Event) -> tuple[int, None]:
        event.assoc.abort()
        return 0x0000, None

    assert commitment.request(REFERENCES, UID, serve([(evt.EVT_N_ACTION, on_action)]), "SBNODE") is None


def test_an_archive_that_knows_no_commitment_or_cannot_now(serve: Callable[..., Destination]) -> None:
    with pytest.raises(DestinationRefused, match="Storage Commitment"):
        commitment.request(REFERENCES, UID, serve([], commits=False), "SBNODE")
    with pytest.raises(DestinationUnavailable, match="0x0213"):
        commitment.request(REFERENCES, UID, serve([(evt.EVT_N_ACTION, lambda _: (0x0213, None))]), "SBNODE")


@pytest.mark.parametrize(
    ("held", "unknown", "event_type", "failed"),
    [
        ({"1.2.3": {CT}, "1.2.4": {CT}}, (), 1, ()),
        ({"1.2.4": {CT}}, (), 2, (("1.2.3", 0x0112),)),
        ({}, (), 2, (("1.2.3", 0x0112), ("1.2.4", 0x0112))),
        ({"1.2.3": {MR}, "1.2.4": {CT}}, (), 2, (("1.2.3", 0x0119),)),
        ({"1.2.3": {MR, CT}, "1.2.4": {CT}}, (), 1, ()),
        ({"1.2.4": {CT}}, ("1.2.3",), 2, (("1.2.3", 0x0110),)),
        ({"1.2.3": {MR}, "1.2.4": {CT}}, ("1.2.3",), 2, (("1.2.3", 0x0110),)),
        ({"1.2.3": {CT}, "1.2.4": {CT}}, ("1.2.3",), 1, ()),
    ],
    ids=[
        "all",
        "some",
        "none",
        "another class",
        "in two studies, once of another class",
        "unknown",
        "another class, and unknown in another study",
        "held, and unknown in another study",
    ],
)
def test_what_is_held_is_reported_to_who_asked(
    serve: Callable[..., Destination],
    held: dict[str, set[str]],
    unknown: tuple[str, ...],
    event_type: int,
    failed: tuple[tuple[str, int], ...],
) -> None:
    reports: list[tuple[int, Report]] = []

    def on_report(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, Report.of(event.event_information)))
        classes = {item.ReferencedSOPClassUID for item in event.event_information.get("FailedSOPSequence") or ()}
        assert classes <= {CT}  # as the request had it
        return 0x0000, None

    sender = serve([(evt.EVT_N_EVENT_REPORT, on_report)])
    stored = {uid: frozenset(classes) for uid, classes in held.items()}
    counts = commitment.prove(Request(UID, "ARCHIVE", REFERENCES), Held(stored, frozenset(unknown)), sender, "SBNODE")
    refused = {uid for uid, _ in failed}
    committed = tuple(uid for _, uid in REFERENCES if uid not in refused)
    assert reports == [(event_type, Report(UID, committed, failed))]
    assert counts == Counter(FailureReason.of(number) for _, number in failed)


def test_who_takes_no_reports_or_fails_is_said_so(serve: Callable[..., Destination]) -> None:
    request = Request(UID, "ARCHIVE", REFERENCES)
    with pytest.raises(DestinationRefused):
        commitment.prove(request, Held(), serve([], commits=False), "SBNODE")
    with pytest.raises(DestinationUnavailable, match="0x0110"):
        commitment.prove(request, Held(), serve([(evt.EVT_N_EVENT_REPORT, lambda _: (0x0110, None))]), "SBNODE")


def test_a_role_that_was_not_granted_is_a_refusal(
    serve: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: object) -> None:
        raise ValueError("no accepted presentation context for the SCP role")

    monkeypatch.setattr("pynetdicom.association.Association.send_n_event_report", send)
    with pytest.raises(DestinationRefused, match="takes no storage commitment reports"):
        commitment.prove(Request(UID, "ARCHIVE", REFERENCES), Held(), serve([]), "SBNODE")
