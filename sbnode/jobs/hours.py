"""The hours in which work of low priority begins."""

from __future__ import annotations

from datetime import datetime, time, timedelta

__all__ = ["seconds_until"]


def seconds_until(hours: str | None, now: datetime) -> float:
    """Return how many seconds after ``now`` the next of ``hours`` ("19:00-07:00") begin; 0 within them, or for None.

    The clock of ``now`` counts. Hours that end as they begin are the whole day.
    """
    if hours is None:
        return 0.0
    begin, end = (time.fromisoformat(part) for part in hours.split("-"))
    clock = now.time()
    if begin <= clock < end if begin < end else clock >= begin or clock < end:
        return 0.0
    next_begin = datetime.combine(now.date(), begin, now.tzinfo)
    return (next_begin + timedelta(days=next_begin <= now) - now).total_seconds()
