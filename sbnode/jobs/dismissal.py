"""Dead letters that somebody put away on purpose: how the queue notes that, and why it was.

The note stands in the attributes that DBOS keeps of each workflow, and names the end that it is about. What starts one
again clears it; and should something do so that knows nothing of notes, an earlier release say, it holds for that end
alone: what fails again is a dead letter again. Why is one of a few words, for free text may name a patient.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from dbos import WorkflowStatus

__all__ = ["NOTED_END", "REASONS", "Reason", "is_noted", "note", "reason_of"]

_KEY, _END = "dismissed", "end"
NOTED_END = (_KEY, _END)
"""Where among the attributes stands when what was dismissed had ended, in milliseconds since 1970, as text."""


class Reason(StrEnum):
    """Why something is left as it is."""

    NOT_NEEDED = "not_needed"
    DONE_OTHERWISE = "done_otherwise"
    NOT_TAKEN = "not_taken"
    NOT_USABLE = "not_usable"
    WRONG_STUDY = "wrong_study"
    TEST = "test"


REASONS: dict[str, str] = {
    Reason.NOT_NEEDED: "no longer needed",
    Reason.DONE_OTHERWISE: "done in another way",
    Reason.NOT_TAKEN: "the destination won't take it",
    Reason.NOT_USABLE: "the study can't be used",
    Reason.WRONG_STUDY: "the study should not have come",
    Reason.TEST: "a test",
}
"""What each reason says."""


def note(ended_at_ms: int, reason: Reason) -> dict[str, Any]:
    """Return the attributes by which what ended then (milliseconds since 1970) is dismissed; no two are the same."""
    # A string: PostgreSQL reads numbers out of JSON as 32 bits.
    return {_KEY: {_END: str(ended_at_ms), "reason": reason.value, "mark": uuid4().hex}}


def is_noted(status: WorkflowStatus, made: dict[str, Any]) -> bool:
    """Whether it is this ``note`` by which something is dismissed, and not another one."""
    return reason_of(status) is not None and (status.attributes or {}).get(_KEY) == made[_KEY]


def reason_of(status: WorkflowStatus) -> str | None:
    """Return in words why something was dismissed; None: it wasn't, or was started again since."""
    found = (status.attributes or {}).get(_KEY)
    if not isinstance(found, dict) or found.get(_END) != str(status.completed_at):
        return None
    code = str(found.get("reason"))
    return REASONS.get(code, code)
