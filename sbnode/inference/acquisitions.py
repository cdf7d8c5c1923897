"""Several volumes in one series: before and after contrast, or the same slices scanned twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["volumes"]

OVERLAPPING = 0.5
"""Acquisitions whose ranges share this much of the shorter one are volumes of one place. Those of a sequential scan,
one for each step of the table, share nothing."""


def volumes(
    positions_mm: NDArray[np.float64],
    acquisitions: Sequence[int | None],
    numbers: Sequence[int | None],
    same_mm: float,
) -> tuple[tuple[int, ...], ...]:
    """Return the volumes that slices make, as indices, in the order of their Acquisition or Instance Numbers.

    One where the slices make one stack, or where nothing tells its parts apart.

    Args:
        positions_mm: position of each slice along the normal, shape (n,).
        acquisitions: Acquisition Number (0020,0012) of each.
        numbers: Instance Number (0020,0013) of each.
        same_mm: slices nearer than this lie at one position.
    """
    by_acquisition = _by_acquisition(positions_mm, acquisitions)
    if by_acquisition:
        return by_acquisition
    return _by_turn(positions_mm, numbers, same_mm) or (tuple(range(len(positions_mm))),)


def _by_acquisition(
    positions_mm: NDArray[np.float64], acquisitions: Sequence[int | None]
) -> tuple[tuple[int, ...], ...]:
    """Split by Acquisition Number, where two acquisitions of several slices cover the same place."""
    if None in acquisitions:
        return ()
    groups: dict[int, list[int]] = {}
    for index, acquisition in enumerate(acquisitions):
        groups.setdefault(acquisition or 0, []).append(index)
    ranges = [(positions_mm[g].min(), positions_mm[g].max()) for g in groups.values() if len(g) > 1]
    for k, (low, high) in enumerate(ranges):
        for other_low, other_high in ranges[:k]:
            shared = min(high, other_high) - max(low, other_low)
            if shared > OVERLAPPING * min(high - low, other_high - other_low):
                return tuple(tuple(groups[acquisition]) for acquisition in sorted(groups))
    return ()


def _by_turn(
    positions_mm: NDArray[np.float64], numbers: Sequence[int | None], same_mm: float
) -> tuple[tuple[int, ...], ...]:
    """Split slices that all come equally often: the first of each position, by Instance Number, then the second."""
    if None in numbers:
        return ()
    order = np.argsort(positions_mm, kind="stable")
    starts = np.flatnonzero(np.diff(positions_mm[order], prepend=-np.inf) >= same_mm)
    places = np.split(order, starts[1:])
    turns = {len(place) for place in places}
    if len(turns) > 1 or turns == {1}:
        return ()
    sorted_places = [sorted(place.tolist(), key=lambda index: numbers[index] or 0) for place in places]
    return tuple(tuple(turn) for turn in zip(*sorted_places, strict=True))
