"""How far two surfaces of bone lie from each other.

Average symmetric surface distance, 95th percentile and maximum of the Hausdorff distance as in Maier-Hein, Reinke et
al., "Metrics reloaded", Nature Methods 21:195 (2024), https://doi.org/10.1038/s41592-023-02151-z; the percentile is
taken in each direction, and of the two the larger one counts. Surfaces are given by their points (`Surface`); about
each point a surface is taken for flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sbnode.inference.bone import Bone

__all__ = ["Distances", "Surface", "SurfaceDistance"]

Points = NDArray[np.float64]

STEEPEST = 0.5
"""The level is clipped to this on both sides of the surface before its slope is taken: further away it says nothing."""
FACING = 0.5
"""Two surfaces run alongside where the cosine of the angle between their normals is above this."""


@dataclass(frozen=True, slots=True)
class Distances:
    """Of the points of one surface to the other surface, in mm."""

    mean_mm: float
    p95_mm: float
    longest_mm: float

    @classmethod
    def of(cls, away_mm: NDArray[np.float64]) -> Distances:
        """Summarise distances, of which there is at least one."""
        return cls(float(away_mm.mean()), float(np.quantile(away_mm, 0.95)), float(away_mm.max()))


@dataclass(frozen=True, slots=True)
class SurfaceDistance:
    """Between surfaces A and B: in each direction, and the mean over the points of both."""

    a_to_b: Distances
    b_to_a: Distances
    mean_mm: float

    @classmethod
    def of(cls, a_to_b_mm: NDArray[np.float64], b_to_a_mm: NDArray[np.float64]) -> SurfaceDistance:
        """Summarise the distances in both directions, of which there is at least one each."""
        both = (a_to_b_mm.sum() + b_to_a_mm.sum()) / (a_to_b_mm.size + b_to_a_mm.size)
        return cls(Distances.of(a_to_b_mm), Distances.of(b_to_a_mm), float(both))

    @property
    def p95_mm(self) -> float:
        """The larger one of both directions."""
        return max(self.a_to_b.p95_mm, self.b_to_a.p95_mm)

    @property
    def longest_mm(self) -> float:
        """The Hausdorff distance."""
        return max(self.a_to_b.longest_mm, self.b_to_a.longest_mm)


@dataclass(frozen=True, slots=True)
class Surface:
    """Points of the surface of bone, patient mm, shape (n, 3), with their outward unit normals.

    They are where the level crosses 0 between neighbouring cells, by linear interpolation along each edge of the grid,
    as the vertices of a marching-cubes surface are. Where bone is cut off by the end of the grid there is no surface.
    """

    points_mm: Points
    normals: NDArray[np.float32]
    cell_mm: float

    @classmethod
    def of(cls, bone: Bone) -> Surface:
        """Find the surface of ``bone``."""
        found = [_crossings(bone.level, axis) for axis in range(3)]
        index = np.concatenate(found)
        normals = _normals(bone.level, np.rint(index).astype(np.intp)) @ bone.grid.axes.astype(np.float32)
        return cls(bone.grid.to_patient(index), normals, bone.grid.spacing_mm)

    def away_mm(self, other: Surface) -> NDArray[np.float64]:
        """Return how far each point is from ``other``, which has at least one.

        That is the distance to the nearest point of the other surface; where this is within a cell and the surfaces
        run alongside, the distance to the plane through it, since its points are as far apart as cells.
        """
        if self.points_mm.shape == other.points_mm.shape and np.array_equal(self.points_mm, other.points_mm):
            return np.zeros(len(self.points_mm))
        tree = cKDTree(other.points_mm, balanced_tree=False, compact_nodes=False)
        found = tree.query(self.points_mm, workers=-1)
        away, nearest = np.asarray(found[0], np.float64), np.asarray(found[1])
        normals = other.normals[nearest]
        beside = (away < other.cell_mm) & (np.einsum("ij,ij->i", self.normals, normals) > FACING)
        between = self.points_mm[beside] - other.points_mm[nearest[beside]]
        away[beside] = np.abs(np.einsum("ij,ij->i", between, normals[beside]))
        return away


def _crossings(level: NDArray[np.float32], axis: int) -> Points:
    """Indices into the grid, shape (n, 3), one of them fractional."""
    solid = level > 0
    lower = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    upper = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    cells = np.argwhere(solid[lower] != solid[upper])
    before = level[lower][tuple(cells.T)]
    after = level[upper][tuple(cells.T)]
    points = cells.astype(np.float64)
    points[:, axis] += before / (before - after)
    return points


def _normals(level: NDArray[np.float32], cells: NDArray[np.intp]) -> NDArray[np.float32]:
    """Unit vectors against the slope of the level at cells, along the axes of the grid; 0 where it is flat."""
    slope = np.empty((len(cells), 3), np.float32)
    for axis in range(3):
        ends = []
        for step in (-1, 1):
            moved = cells.copy()
            moved[:, axis] = np.clip(moved[:, axis] + step, 0, level.shape[axis] - 1)
            ends.append(level[tuple(moved.T)].clip(-STEEPEST, STEEPEST))
        slope[:, axis] = ends[0] - ends[1]
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    return np.asarray(slope / np.maximum(length, 1e-6), np.float32)
