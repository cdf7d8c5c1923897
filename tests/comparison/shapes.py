"""Bones made of closed forms, on grids of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid

Points = NDArray[np.float64]
Depth = Callable[[Points], NDArray[np.float64]]
"""How deep points lie in the bone, mm; negative outside."""

AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def grid(origin_mm: float = -9.0, spacing_mm: float = 0.4, cells: int | None = None, axes: Points = AXES) -> Grid:
    """A cube of cells; by default it reaches from -9 to 9 mm."""
    count = cells or round(-2 * origin_mm / spacing_mm) + 1
    origin = np.full(3, origin_mm) @ axes
    return Grid(origin_mm=origin, axes=axes, spacing_mm=spacing_mm, shape=(count, count, count))


def bone(on: Grid, depth: Depth) -> Bone:
    points = on.to_patient(np.moveaxis(np.indices(on.shape, dtype=np.float64), 0, -1))
    level = np.clip(depth(points) / 2, -0.5, 0.5).astype(np.float32)
    nothing = np.zeros(on.shape, bool)
    return Bone(grid=on, level=level, inferred=nothing, canal=nothing, plate=nothing)


def ball(centre_mm: Points, radius_mm: float) -> Depth:
    return lambda points: radius_mm - np.linalg.norm(points - centre_mm, axis=-1)


def box(centre_mm: Points, half_mm: Points) -> Depth:
    return lambda points: (half_mm - np.abs(points - centre_mm)).min(axis=-1)
