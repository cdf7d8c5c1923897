"""What the Receiver tells whoever counts and audits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from sbnode.audit import Participant
from sbnode.scp.completion import SeriesCompletion

__all__ = ["AssociationOutcome", "Observer", "Silent"]

AssociationOutcome = Literal[
    "accepted",
    "released",
    "aborted",
    "rejected_calling_ae_title",
    "rejected_called_ae_title",
    "rejected_network",
    "rejected_certificate",
    "rejected_limit",
    "rejected_caller_limit",
]


class Observer(Protocol):
    """Is called from many threads; must return soon and not raise."""

    def association(self, outcome: AssociationOutcome, calling_ae_title: str) -> None:
        """An association was accepted, rejected, or ended."""

    def answered(self, calling_ae_title: str, status: int, data_set_bytes: int, new: bool, seconds: float) -> None:
        """A C-STORE request was answered, ``seconds`` after it was whole; ``new``: it added an instance."""

    def oversized(self, calling_ae_title: str) -> None:
        """An association was aborted because it sent more than the limits on instance size allow."""

    def completed(self, completion: SeriesCompletion) -> None:
        """A series became complete."""

    def transferred(self, sender: Participant, instances: Mapping[str, int]) -> None:
        """An association ended that added ``instances`` of each Study Instance UID."""

    def turned_away(self, caller: Participant) -> None:
        """An association was rejected for its AE titles, its network or its certificate."""


class Silent:
    """An Observer that takes note of nothing."""

    def association(self, outcome: AssociationOutcome, calling_ae_title: str) -> None:
        """Take no note."""

    def answered(self, calling_ae_title: str, status: int, data_set_bytes: int, new: bool, seconds: float) -> None:
        """Take no note."""

    def oversized(self, calling_ae_title: str) -> None:
        """Take no note."""

    def completed(self, completion: SeriesCompletion) -> None:
        """Take no note."""

    def transferred(self, sender: Participant, instances: Mapping[str, int]) -> None:
        """Take no note."""

    def turned_away(self, caller: Participant) -> None:
        """Take no note."""
