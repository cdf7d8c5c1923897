"""Surfaces whose distance is known: balls and plates."""

from __future__ import annotations

import numpy as np
import pytest

from sbnode.comparison.distance import Surface, SurfaceDistance
from sbnode.comparison.overlap import common_grid, on_grid
from sbnode.inference.bone import Bone
from tests.comparison.shapes import ball, bone, box, grid


def between(a: Bone, b: Bone) -> SurfaceDistance:
    first, second = Surface.of(a), Surface.of(b)
    return SurfaceDistance.of(first.away_mm(second), second.away_mm(first))


def test_points_lie_on_the_surface_between_the_cells() -> None:
    centre = np.array([1.0, -2.0, 3.0])
    surface = Surface.of(bone(grid(), ball(centre, 5.0)))
    points = surface.points_mm
    assert np.linalg.norm(points - centre, axis=1) == pytest.approx(5.0, abs=0.02)
    # The edges of the grid that a sphere cuts: its shadows on the three planes, on both sides.
    assert surface.normals == pytest.approx((points - centre) / 5.0, abs=0.12)
    assert len(points) == pytest.approx(3 * 2 * np.pi * 5.0**2 / 0.4**2, rel=0.03)


def test_the_same_surface_is_not_away_from_itself() -> None:
    one = bone(grid(), ball(np.zeros(3), 5.0))
    found = between(one, one)
    assert (found.mean_mm, found.p95_mm, found.longest_mm) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("apart_mm", [0.05, 0.2, 0.7])
def test_a_ball_in_a_ball_is_as_far_away_everywhere(apart_mm: float) -> None:
    found = between(*(bone(grid(), ball(np.zeros(3), radius)) for radius in (6.0, 6.0 + apart_mm)))
    for one in (found.a_to_b, found.b_to_a):
        assert one.mean_mm == pytest.approx(apart_mm, rel=0.06, abs=0.005)
        assert one.p95_mm == pytest.approx(apart_mm, rel=0.15, abs=0.01)
    assert apart_mm - 0.01 <= found.longest_mm < apart_mm + 0.15


def test_other_cells_make_hardly_any_difference() -> None:
    shape = ball(np.zeros(3), 6.0)
    a, b = bone(grid(), shape), bone(grid(-8.93, 0.37), shape)
    assert between(a, b).mean_mm < 0.02
    on = common_grid(a.grid, b.grid)
    assert between(on_grid(a, on), on_grid(b, on)).mean_mm < 0.02


def test_a_plate_that_is_gone_is_as_far_away_as_the_next_bone() -> None:
    wall = box(np.array([-4.0, 0.0, 0.0]), np.array([2.0, 6.0, 6.0]))
    plate = box(np.array([3.1, 0.0, 0.0]), np.array([0.3, 6.0, 6.0]))
    both = bone(grid(), lambda points: np.maximum(wall(points), plate(points)))
    found = between(both, bone(grid(), wall))
    assert found.a_to_b.longest_mm == pytest.approx(3.4 + 2.0, abs=0.1)
    assert found.b_to_a.longest_mm < 0.01


def test_what_only_one_has_counts_in_one_direction() -> None:
    first = ball(np.array([-3.0, 0.0, 0.0]), 3.0)
    second = ball(np.array([5.0, 0.0, 0.0]), 1.0)
    both = bone(grid(), lambda points: np.maximum(first(points), second(points)))
    found = between(both, bone(grid(), first))
    # The far side of the small ball from the near side of the large one.
    assert found.a_to_b.longest_mm == pytest.approx(6.0, abs=0.1)
    assert found.b_to_a.longest_mm == pytest.approx(0.0, abs=1e-6)
    assert found.longest_mm == found.a_to_b.longest_mm
    assert 0 < found.mean_mm < found.a_to_b.mean_mm
