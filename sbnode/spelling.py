"""What was meant by a name that isn't known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["meant"]


def meant(name: str, known: Iterable[str]) -> str:
    """Return a hint for the end of a message: which of ``known`` is most like ``name``; empty where it is one of them.

    Empty too where none is like it.
    """
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near and near[0] != name else ""
