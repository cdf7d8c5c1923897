"""Deleting studies that are done, with their results and what the queue knows of them, by age and by size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sbnode import log
from sbnode.audit import Audit
from sbnode.config import Config
from sbnode.jobs.client import JobClient, Standing
from sbnode.jobs.manifest import Manifest
from sbnode.spool import Spool

__all__ = ["Retention"]

_DAY_S = 86400.0
_ENDED = ("done", "dead letter")
_SETTLED_S = 3600.0
"""A study that got an instance within this time may be getting more, and isn't deleted for its size."""
_THOUGHT_BETTER_S = _DAY_S
"""Nor is one of which something was dismissed within this time: somebody may want it back."""


@dataclass(frozen=True, slots=True)
class _Study:
    """A study that may be deleted; ``names`` are those of its manifests."""

    uid: str
    names: tuple[str, ...]
    newest_s: float
    standing: Standing
    now_s: float
    size_bytes: int

    @property
    def age_s(self) -> float:
        """Since its last instance came, or since something of it was dismissed, if that was later."""
        return self.now_s - max(self.newest_s, self.standing.dismissed_s)

    @property
    def dead(self) -> bool:
        """Whether it has a dead letter that nobody dismissed."""
        return self.standing.state == "dead letter"

    @property
    def settled(self) -> bool:
        """Whether it may go for its size."""
        thought_s = self.now_s - self.standing.dismissed_s
        return not self.dead and self.now_s - self.newest_s > _SETTLED_S and thought_s > _THOUGHT_BETTER_S


class Retention:
    """Sweeps the spool. For the process that stores.

    Work that isn't done is never touched: a study whose series are still coming has no manifest, and one with anything
    queued or running is open. What the queue doesn't know of stays too.
    """

    def __init__(self, config: Config, spool: Spool, queue: JobClient, audit: Audit) -> None:
        self._settings = config.retention
        self._spool, self._queue, self._audit = spool, queue, audit

    def use(self, config: Config) -> None:
        """Work by ``config`` from now on."""
        self._settings = config.retention

    def turn(self, stopping: Callable[[], bool]) -> None:
        """Sweep now."""
        if not stopping():
            log.get_logger().info("retention", studies_removed=self.sweep(time.time()))

    def sweep(self, now_s: float) -> int:
        """Delete what is due at ``now_s`` (seconds since 1970); return how many studies went."""
        removable = self._removable(now_s)
        due = [study for study in removable if study.age_s > self._longest_s(study)]
        due += self._above_size([study for study in removable if study not in due], sum(s.size_bytes for s in due))
        return sum(self._remove(study) for study in due)

    def _removable(self, now_s: float) -> list[_Study]:
        """The studies with nothing to be done, the oldest first."""
        found = []
        for uid, names in Manifest.names(self._spool).items():
            standing = self._queue.standing(names)
            if standing.state in _ENDED:
                newest_s = self._spool.newest_s(uid)
                found.append(_Study(uid, tuple(names), newest_s, standing, now_s, self._size(uid, names)))
        return sorted(found, key=lambda study: -study.age_s)

    def _size(self, uid: str, names: list[str]) -> int:
        results = (path for name in names for path in self._spool.result_folder(name).glob("*"))
        return self._spool.study_bytes(uid) + sum(path.stat().st_size for path in results)

    def _longest_s(self, study: _Study) -> float:
        days = self._settings.dead_letter_days if study.dead else self._settings.study_days
        return float("inf") if days is None else days * _DAY_S

    def _above_size(self, studies: list[_Study], going_bytes: int) -> list[_Study]:
        """The oldest of the studies that are done, until the spool is small enough."""
        if self._settings.max_bytes is None:
            return []
        surplus = self._spool.used_bytes() - going_bytes - self._settings.max_bytes
        chosen: list[_Study] = []
        for study in studies:
            if surplus <= 0:
                break
            if study.settled:
                chosen.append(study)
                surplus -= study.size_bytes
        return chosen

    def _remove(self, study: _Study) -> bool:
        """Delete a study, unless it got an instance or work, or was dismissed, meanwhile; return whether it went.

        The queue forgets it last: a study that it doesn't know would be done again.
        """
        if self._queue.standing(study.names) != study.standing:
            return False
        if not self._spool.remove_study(study.uid, study.newest_s):
            return False
        for name in study.names:
            self._spool.remove_result(name)
        self._queue.forget(study.names)
        for name in study.names:
            Manifest.remove(self._spool, name)
        self._audit.deleted(study.uid)
        log.get_logger().info("study_removed", study=study.names[0], age_days=round(study.age_s / _DAY_S, 1))
        return True
