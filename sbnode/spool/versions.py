"""The versions of patient and study that the instances of a study were sent with, and which copy comes too late.

A sender is only known to keep its own order. An old version from the one that replaced it is its later word; from
anybody else it may have been under way since before the correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["History", "Version"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an instance.

    Args:
        filing: digest of patient and study, as in `Instance`.
        sender: AE title of who sent it; empty when that is not known.
    """

    filing: str
    sender: str


class History:
    """Who replaced which version by which, in any instance of a study.

    It follows from the versions of the instances alone: made anew after a restart, it decides the same.
    """

    def __init__(self) -> None:
        self._senders: dict[str, dict[str, set[str]]] = {}

    def add(self, versions: Sequence[Version]) -> None:
        """Take in the versions of an instance, oldest first; a version may stand there several times."""
        for place, later in enumerate(versions):
            self.replaced(versions[:place], later)

    def replaced(self, older: Sequence[Version], later: Version) -> None:
        """Note that in an instance ``later`` took the place of the last one of ``older``."""
        for version in older:
            self._senders.setdefault(version.filing, {}).setdefault(later.filing, set()).add(later.sender)

    def is_late(self, came: Version, kept: str) -> bool:
        """Whether ``came`` was replaced in this study, and not by its sender.

        Those count who replaced it by ``kept``; when nobody did, those who replaced it by anything.
        """
        replaced_by = self._senders.get(came.filing, {})
        senders = replaced_by.get(kept) or set[str]().union(*replaced_by.values())
        return bool(senders) and came.sender not in senders
