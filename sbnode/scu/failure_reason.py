"""Why an archive doesn't commit to an instance: Failure Reason (0008,1197) of a report (PS3.3 section C.14.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["CLASS_INSTANCE_CONFLICT", "NO_SUCH_INSTANCE", "PROCESSING_FAILURE", "FailureReason", "Remedy"]


class Remedy(Enum):
    """What helps; of several, the one with the lowest value has to be."""

    NONE = 1
    """It will never commit to this object."""
    SEND = 2
    """Send the object again."""
    ASK = 3
    """Ask again later, in another transaction."""


@dataclass(frozen=True, slots=True)
class FailureReason:
    """One reason: its number, the standard's name for it and what helps."""

    number: int
    name: str
    remedy: Remedy

    def __str__(self) -> str:
        return f"0x{self.number:04X} {self.name}" if self.number else self.name

    @classmethod
    def of(cls, number: int) -> FailureReason:
        """Return the reason of this number.

        One that the standard doesn't list, or 0 for none, says only that the object isn't held.
        """
        name = "reason without a name" if number else "no reason given"
        return _KNOWN.get(number, cls(number, name, Remedy.SEND))


PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119

_KNOWN = {
    reason.number: reason
    for reason in (
        FailureReason(PROCESSING_FAILURE, "processing failure", Remedy.ASK),
        FailureReason(NO_SUCH_INSTANCE, "no such object instance", Remedy.SEND),
        FailureReason(CLASS_INSTANCE_CONFLICT, "class / instance conflict", Remedy.NONE),
        FailureReason(0x0122, "referenced SOP class not supported", Remedy.NONE),
        FailureReason(0x0131, "duplicate transaction UID", Remedy.ASK),
        FailureReason(0x0213, "resource limitation", Remedy.ASK),
    )
}
