"""Whether the slices of a series leave a gap, from their positions alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from sbnode.series import Instance

__all__ = ["Slice", "is_continuous"]

_MIN_SLICES = 3
"""Two slices always lie evenly; only a third can show a gap."""
_LARGEST_STEP = 1.5
"""In medians. One missing slice doubles a step; uneven spacing that is meant seldom does less harm than
waiting."""
_SAME_POSITION_MM = 0.01
"""Slices closer than this are taken as one: positions are written with about this precision."""
_ORIENTATION_DECIMALS = 2
"""Slices whose direction cosines agree to this many decimals (about half a degree) are parallel."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What of an instance counts here.

    ``normal`` is the direction across the slice, rounded, and ``offset_mm`` where the slice lies along it,
    in LPS; both are None when the header doesn't give them. ``frames`` of an enhanced image stand for
    themselves.
    """

    normal: tuple[float, ...] | None
    offset_mm: float | None
    frames: int

    @classmethod
    def of(cls, instance: Instance) -> Slice:
        """Compute the offset from position and orientation (PS3.3 C.7.6.2.1.1), never from the instance
        number.
        """
        if instance.orientation is None or instance.position_mm is None:
            return cls(None, None, instance.number_of_frames)
        (a, b, c), (d, e, f) = instance.orientation[:3], instance.orientation[3:]
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        offset_mm = sum(n * p for n, p in zip(normal, instance.position_mm, strict=True))
        # Adding zero turns -0.0 into 0.0, so that the tuple can be a key.
        key = tuple(round(cosine, _ORIENTATION_DECIMALS) + 0.0 for cosine in normal)
        return cls(key, offset_mm, instance.number_of_frames)


def is_continuous(slices: Iterable[Slice]) -> bool:
    """Return whether the slices show a stack without gaps.

    Parallel slices make a stack. Every stack of three or more must have no step above 1.5 times its median
    step, and there must be one; smaller ones, such as a localizer beside the slices, say nothing. An
    enhanced multi-frame image is a stack of its own. A slice without position or orientation makes the
    answer no.
    """
    stacks: dict[tuple[float, ...], list[float]] = {}
    enhanced = False
    for item in slices:
        if item.frames >= _MIN_SLICES:
            enhanced = True
        elif item.normal is None or item.offset_mm is None or not math.isfinite(item.offset_mm):
            return False
        else:
            stacks.setdefault(item.normal, []).append(item.offset_mm)
    steps = [found for offsets in stacks.values() if len(found := _steps_mm(offsets)) >= _MIN_SLICES - 1]
    return bool(enhanced or steps) and all(max(s) <= _LARGEST_STEP * median(s) for s in steps)


def _steps_mm(offsets_mm: Iterable[float]) -> list[float]:
    """Return the distances between neighbours; slices at one position count once."""
    steps = (upper - lower for lower, upper in pairwise(sorted(offsets_mm)))
    return [step for step in steps if step > _SAME_POSITION_MM]
