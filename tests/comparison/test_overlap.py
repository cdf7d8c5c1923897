"""Dice of shapes whose overlap is known, on grids that differ."""

from __future__ import annotations

import numpy as np
import pytest

from sbnode.comparison.overlap import Overlap, common_grid, on_grid
from tests.comparison.shapes import AXES, ball, bone, grid

ZERO = np.array([0.05, 0.12, -0.09])
"""Off the cells' centres, so that these aren't cut alike on all sides."""


def test_the_same_bone_and_bones_apart() -> None:
    one = bone(grid(), ball(ZERO, 4.0))
    assert Overlap.of(one, one) == Overlap(1.0, 0.0, 0.0)
    left, right = (bone(grid(), ball(ZERO + np.array([x, 0.0, 0.0]), 2.0)) for x in (-4.0, 4.0))
    found = Overlap.of(left, right)
    assert found.dice == 0
    assert found.only_a_ml == pytest.approx(4 / 3 * np.pi * 0.2**3, rel=0.05)
    assert found.only_b_ml == pytest.approx(found.only_a_ml, rel=0.05)


def test_no_bone_in_both_is_agreement() -> None:
    nothing = bone(grid(), ball(ZERO, -5.0))
    assert Overlap.of(nothing, nothing).dice == 1


def test_a_ball_in_a_ball() -> None:
    found = Overlap.of(bone(grid(), ball(ZERO, 5.0)), bone(grid(), ball(ZERO, 6.0)))
    assert found.dice == pytest.approx(2 * 5**3 / (5**3 + 6**3), rel=0.01)
    assert found.only_a_ml == 0


def test_one_grid_for_both_holds_both_and_keeps_the_cells_of_the_first() -> None:
    a, b = grid(-5.0), grid(-7.13, 0.3)
    found = common_grid(a, b)
    assert common_grid(a, grid(-5.0)) is a
    steps = a.to_index(found.origin_mm)
    assert steps == pytest.approx(np.round(steps), abs=1e-9)
    for one in (a, b):
        ends = found.to_index(one.to_patient(np.array([[0.0, 0.0, 0.0], np.array(one.shape) - 1.0])))
        assert ends.min() >= -1e-6
        assert (ends <= np.array(found.shape) - 1 + 1e-6).all()


@pytest.mark.parametrize("degrees", [0.0, 18.5])
def test_bone_on_another_grid_is_the_same_bone(degrees: float) -> None:
    turn = np.deg2rad(degrees)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    shape = ball(np.array([1.0, -0.5, 0.7]), 5.0)
    a, b = bone(grid(), shape), bone(grid(-8.91, 0.37, axes=AXES @ tilt), shape)
    on = common_grid(a.grid, b.grid)
    assert on_grid(a, a.grid) is a
    found = Overlap.of(on_grid(a, on), on_grid(b, on))
    assert found.dice > 0.995
    assert on_grid(a, on).volume_ml == pytest.approx(a.volume_ml)
