"""When a study is complete. Pure: it is told the time with each event and never looks at a clock.

Nothing in C-STORE says that a series is complete, so it is judged by evidence, in this order:

1. ``count``: as many instances as the sender's archive says the series has.
2. ``association_end``: every association that sent slices of the series has ended, the last one by A-RELEASE
   (PS3.8 section 7.2), and the slices leave no gap.
3. ``idle``: nothing came for a while. An abort or a broken connection is no evidence, so its series wait
   for this. If the archive has more of a series than came, it is first asked to send it again, until that
   brings nothing new.

A study is complete when all its series are and nothing came for ``study_settle_s``. It is then forgotten: a
late instance opens it again, and it completes again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sbnode.config import Completion
from sbnode.scp.continuity import Slice, is_continuous
from sbnode.series import Instance, SeriesKey

__all__ = [
    "CompletionTracker",
    "ExpectedCount",
    "Held",
    "OpenSeries",
    "Reason",
    "Retrieve",
    "SeriesCompletion",
    "StudyCompletion",
]

Reason = Literal["count", "association_end", "idle"]
ExpectedCount = Callable[[SeriesKey], int | None]
"""Asks for the number of instances of a series; None when it isn't known."""
Held = Callable[[SeriesKey], int]
"""Counts the instances of a series that are stored, those of earlier times included."""
Retrieve = Callable[[SeriesKey], bool]
"""Has a series sent again; whether that was promised."""


_MOST_REMEMBERED = 10_000
"""Of the studies that were complete: months of them."""


@dataclass(frozen=True, slots=True)
class SeriesCompletion:
    """By which evidence a series is complete, and how many of its instances came since it was opened."""

    key: SeriesKey
    reason: Reason
    instances: int
    late: bool = False
    """The study was complete already when they came."""


@dataclass(frozen=True, slots=True)
class StudyCompletion:
    """A complete study and the series of it that were open."""

    study_instance_uid: str
    series: tuple[SeriesCompletion, ...]


@dataclass(frozen=True, slots=True)
class OpenSeries:
    """A series on its way: how many instances came since it was opened, and when the last one did.

    One with a ``reason`` is complete and waits for the rest of its study.
    """

    key: SeriesKey
    instances: int
    last_received_s: float
    reason: Reason | None


@dataclass(slots=True)
class _OpenSeries:
    last_received_s: float
    instances: int = 0
    slices: dict[str, Slice] = field(default_factory=dict)
    senders: set[int] = field(default_factory=set)
    """Associations that sent instances of it and have not ended."""
    reason: Reason | None = None
    retrieved: bool = False
    """It was asked for again, and nothing new has come since."""
    late: bool = False
    """Its study was complete before."""


class CompletionTracker:
    """Follows associations and the series that they send. For one thread.

    Times are seconds of any one clock. Associations are numbered by the caller.
    """

    def __init__(
        self,
        settings: Completion,
        expected_count: ExpectedCount | None = None,
        retrieve: Retrieve | None = None,
        held: Held | None = None,
    ) -> None:
        self._settings = settings
        self._held = held
        self._expected_count = expected_count
        self._retrieve = retrieve
        self._studies: dict[str, dict[SeriesKey, _OpenSeries]] = {}
        self._sent: dict[int, set[SeriesKey]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Studies that were complete, the latest last."""

    def received(self, association: int, instance: Instance, now_s: float) -> None:
        """Note a new instance; its series is open again."""
        series = self._open(instance.key, now_s)
        series.last_received_s = now_s
        series.instances += 1
        series.reason = None
        series.retrieved = False
        series.senders.add(association)
        series.slices[instance.sop_instance_uid] = Slice.of(instance)
        self._sent.setdefault(association, set()).add(instance.key)

    def stored(self, key: SeriesKey, instances: int, now_s: float) -> None:
        """Note a series that was stored by an earlier process: it becomes complete by idle time."""
        series = self._open(key, now_s)
        series.instances += instances
        series.retrieved = True  # at its time; not again at every start

    def ended(self, association: int, *, released: bool) -> None:
        """Note the end of an association, by A-RELEASE or otherwise."""
        for key in self._sent.pop(association, set()):
            series = self._studies.get(key.study_instance_uid, {}).get(key)
            if series is None:
                continue
            series.senders.discard(association)
            if series.reason is None and not series.senders:
                series.reason = self._evidence(key, series, released)

    def complete(self, now_s: float) -> tuple[StudyCompletion, ...]:
        """Return the studies that are complete at ``now_s`` and forget them."""
        found = []
        for study, open_series in list(self._studies.items()):
            self._wait(open_series, now_s)
            last_s = max(series.last_received_s for series in open_series.values())
            completions = tuple(
                SeriesCompletion(key, series.reason, series.instances, series.late)
                for key, series in sorted(open_series.items())
                if series.reason is not None
            )
            if len(completions) == len(open_series) and now_s - last_s >= self._settings.study_settle_s:
                found.append(StudyCompletion(study, completions))
                del self._studies[study]
                self._remember(study)
        return tuple(found)

    def _remember(self, study: str) -> None:
        self._ended[study] = None
        self._ended.move_to_end(study)
        if len(self._ended) > _MOST_REMEMBERED:
            self._ended.popitem(last=False)

    def open_series(self) -> tuple[OpenSeries, ...]:
        """Return the series that are on their way, those with the newest instance first."""
        found = [
            OpenSeries(key, series.instances, series.last_received_s, series.reason)
            for study in self._studies.values()
            for key, series in study.items()
        ]
        return tuple(sorted(found, key=lambda series: -series.last_received_s))

    def _open(self, key: SeriesKey, now_s: float) -> _OpenSeries:
        study = self._studies.setdefault(key.study_instance_uid, {})
        late = key.study_instance_uid in self._ended
        return study.setdefault(key, _OpenSeries(last_received_s=now_s, late=late))

    def _evidence(self, key: SeriesKey, series: _OpenSeries, released: bool) -> Reason | None:
        if self._expected_count is not None:
            expected = self._expected_count(key)
            if expected is not None:
                # The archive knows better than the gaps: with fewer instances than it has, wait for the rest.
                return "count" if self._count(key, series) >= expected else None
        continuous = released and self._settings.association_end and is_continuous(series.slices.values())
        return "association_end" if continuous else None

    def _wait(self, open_series: dict[SeriesKey, _OpenSeries], now_s: float) -> None:
        for key, series in open_series.items():
            if series.reason is not None or now_s - series.last_received_s < self._settings.idle_s:
                continue
            if self._has_more(key, series):
                series.last_received_s = now_s
            else:
                series.reason = "idle"

    def _has_more(self, key: SeriesKey, series: _OpenSeries) -> bool:
        """Whether the archive has instances that didn't come and was now asked to send them."""
        if series.retrieved or self._retrieve is None or self._expected_count is None:
            return False
        series.retrieved = True
        expected = self._expected_count(key)
        return expected is not None and self._count(key, series) < expected and self._retrieve(key)

    def _count(self, key: SeriesKey, series: _OpenSeries) -> int:
        return series.instances if self._held is None else self._held(key)
