"""The hours of low priority: by the clock of the day, over midnight too."""

from __future__ import annotations

from datetime import datetime

import pytest

from sbnode.jobs.hours import seconds_until


@pytest.mark.parametrize(
    ("hours", "clock", "expected"),
    [
        (None, "12:00", 0),
        ("19:00-07:00", "12:00", 7 * 3600),
        ("19:00-07:00", "18:59:59.5", 0.5),
        ("19:00-07:00", "19:00", 0),
        ("19:00-07:00", "00:00", 0),
        ("19:00-07:00", "06:59:59", 0),
        ("19:00-07:00", "07:00", 12 * 3600),
        ("01:00-05:30", "05:30", 19.5 * 3600),
        ("01:00-05:30", "00:30", 1800),
        ("08:00-08:00", "12:00", 0),
        ("08:00-08:00", "03:00", 0),
    ],
)
def test_how_long_to_wait(hours: str | None, clock: str, expected: float) -> None:
    assert seconds_until(hours, datetime.fromisoformat(f"2026-02-28 {clock}")) == expected
