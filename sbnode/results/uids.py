"""UIDs of result objects: a function of the job, so that a repeat overwrites and never duplicates."""

from __future__ import annotations

from uuid import UUID, uuid5

__all__ = ["result_uid"]

# Fixed for good: another value would give every stored result a second identity.
_NAMESPACE = UUID("5b0d7f8a-9c1e-4b62-8f53-1d2a6c70e4b9")


def result_uid(job_key: str, role: str) -> str:
    """Return the UID that ``role`` (for example "seg.instance") has in the job ``job_key``.

    A UUID-derived UID (PS3.5 section B.2): root 2.25 and the decimal form of a version 5 UUID (RFC 9562).
    pydicom's ``generate_uid(prefix=None)`` ignores its entropy sources, so it can't be used here.
    """
    return f"2.25.{uuid5(_NAMESPACE, f'{job_key}/{role}').int}"
