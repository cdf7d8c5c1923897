"""The versions of patient and study that the instances of a study were sent with, and which copy comes too late.

A sender is only known to keep its own order. An old version from the one that replaced it is its later word; from
anybody else it may have been under way since before the correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["REMEMBERED", "History", "Version", "remembered"]

REMEMBERED = 32
"""So many different versions are remembered of an instance, beside the one that is kept."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an instance.

    Args:
        filing: digest of patient and study, as in `Instance`.
        sender: AE title of who sent it; empty when that is not known.
    """

    filing: str
    sender: str


def remembered(versions: Sequence[Version]) -> tuple[Version, ...]:
    """Return what is remembered of the versions of an instance, oldest first and last the one that is kept.

    Of each version its first and its last time: it came before another if its first time was before the other's last,
    however often a sender went back and forth between. Of too many, those go that are out of use the longest.
    """
    first: dict[Version, int] = {}
    last: dict[Version, int] = {}
    for place, version in enumerate(versions):
        first.setdefault(version, place)
        last[version] = place
    newest = sorted(last, key=last.__getitem__)[-(REMEMBERED + 1) :]
    return tuple(versions[place] for place in sorted({place for one in newest for place in (first[one], last[one])}))


class History:
    """Who replaced which version by which, in any instance of a study.

    It holds what the records of the instances hold and nothing else: made anew after a restart, it decides the same.
    """

    def __init__(self) -> None:
        self._versions: dict[str, tuple[Version, ...]] = {}
        # Most instances of a study are corrected alike: equal versions are held, and looked at, once.
        self._shared: dict[tuple[Version, ...], tuple[tuple[Version, ...], int]] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """How many versions it holds."""
        return self._size

    def put(self, name: str, versions: Sequence[Version]) -> None:
        """Take in the versions of one instance, oldest first, in the place of those that it had before."""
        self._release(self._versions.pop(name, ()))
        if len(versions) < 2:
            return  # It says nothing of who replaced what.
        shared, number = self._shared.get(tuple(versions), (tuple(versions), 0))
        self._shared[shared] = shared, number + 1
        self._versions[name] = shared
        self._size += 0 if number else len(shared)

    def _release(self, versions: tuple[Version, ...]) -> None:
        if not versions:
            return
        shared, number = self._shared.pop(versions)
        if number > 1:
            self._shared[shared] = shared, number - 1
        else:
            self._size -= len(shared)

    def is_late(self, came: Version, kept: str) -> bool:
        """Whether ``came`` was replaced in this study, and not by its sender.

        Those count who replaced it by ``kept``; when nobody did, those who replaced it by anything.
        """
        by_kept: set[str] = set()
        by_any: set[str] = set()
        for versions in self._shared:
            filings = [version.filing for version in versions]
            if came.filing not in filings:
                continue
            later = versions[filings.index(came.filing) + 1 :]
            by_any.update(version.sender for version in later)
            by_kept.update(version.sender for version in later if version.filing == kept)
        senders = by_kept or by_any
        return bool(senders) and came.sender not in senders
