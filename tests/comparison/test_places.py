"""The places of the largest differences."""

from __future__ import annotations

import numpy as np
import pytest

from sbnode.comparison.places import APART_MM, places


def test_the_largest_differences_come_first_and_lie_apart() -> None:
    random = np.random.default_rng(0)
    shell = random.uniform(-60, 60, (20000, 3))
    hole = np.array([30.0, 0.0, 0.0]) + random.uniform(-1, 1, (200, 3))
    dent = np.array([-30.0, 10.0, 5.0]) + random.uniform(-1, 1, (200, 3))
    beside = hole + np.array([6.0, 0.0, 0.0])
    points = np.concatenate([shell, hole, dent, beside])
    away = np.concatenate([np.full(20000, 0.12), np.full(200, 4.0), np.full(200, 2.0), np.full(200, 3.0)])
    found = places(points, away, 3)
    assert found[0] == pytest.approx((30, 0, 0), abs=2.5)
    assert found[1] == pytest.approx((-30, 10, 5), abs=1.5)
    assert np.linalg.norm(found[0] - found[2]) > APART_MM - 4
    # Each is one of the points, so that a cut through it shows something.
    assert all((points == place).all(axis=1).any() for place in found)


def test_small_differences_are_no_places() -> None:
    assert places(np.zeros((5, 3)), np.full(5, 0.05), 4).shape == (0, 3)
    assert places(np.zeros((0, 3)), np.zeros(0), 4).shape == (0, 3)
