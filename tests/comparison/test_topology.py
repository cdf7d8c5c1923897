"""Pieces, tunnels and cavities of shapes that have known ones."""

from __future__ import annotations

import numpy as np
import pytest

from sbnode.comparison.topology import Topology


def block(*holes: tuple[slice, slice, slice]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    solid = np.ones((9, 9, 9), bool)
    for hole in holes:
        solid[hole] = False
    return solid


ALL, MIDDLE = slice(None), slice(4, 5)
THROUGH = (ALL, MIDDLE, MIDDLE)
BESIDE = (ALL, slice(1, 2), slice(1, 2))


@pytest.mark.parametrize(
    ("holes", "tunnels", "cavities"),
    [
        ((), 0, 0),
        ((THROUGH,), 1, 0),
        ((THROUGH, BESIDE), 2, 0),
        # Two that cross: four ends, which is three ways through.
        ((THROUGH, (MIDDLE, ALL, MIDDLE)), 3, 0),
        (((MIDDLE, MIDDLE, MIDDLE),), 0, 1),
        (((slice(0, 4), MIDDLE, MIDDLE),), 0, 0),
    ],
)
def test_a_block_with_holes(holes: tuple[tuple[slice, slice, slice], ...], tunnels: int, cavities: int) -> None:
    assert Topology.of(block(*holes)) == Topology(1, 1.0, tunnels, cavities)


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    apart = np.zeros((12, 12, 12), bool)
    apart[1:4, 1:4, 1:4] = True
    apart[6:7, 6:7, 6:7] = True
    assert Topology.of(apart) == Topology(2, 27 / 28, 0, 0)
    apart[4:6, 4:6, 4:6] = True
    assert Topology.of(apart).pieces == 1


def test_a_ring_of_corners_is_a_tunnel() -> None:
    ring = np.zeros((3, 3, 1), bool)
    ring[[0, 1, 2, 1], [1, 0, 1, 2], 0] = True
    assert Topology.of(ring) == Topology(1, 1.0, 1, 0)


def test_nothing() -> None:
    assert Topology.of(np.zeros((3, 3, 3), bool)) == Topology(0, 0.0, 0, 0)
