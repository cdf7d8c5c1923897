"""One thing that was looked at, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Observation", "fail", "ok", "warn"]

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was looked at, what was seen, and what to do; ``remedy`` is empty when nothing need be done."""

    level: Level
    name: str
    seen: str = ""
    remedy: str = ""
    is_configuration: bool = False
    """Whether a fault is one of this node's configuration."""


def ok(name: str, seen: str = "") -> Observation:
    """All is well."""
    return Observation("ok", name, seen)


def warn(name: str, seen: str, remedy: str) -> Observation:
    """The node works, and won't for ever."""
    return Observation("warn", name, seen, remedy)


def fail(name: str, seen: str, remedy: str, *, is_configuration: bool = False) -> Observation:
    """The node doesn't do its work, or not safely."""
    return Observation("fail", name, seen, remedy, is_configuration)
