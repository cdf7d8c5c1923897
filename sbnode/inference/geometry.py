"""Where voxels lie: the source slices of a series, and the fine orthogonal grid that results are computed on.

All coordinates are LPS patient coordinates in mm (PS3.3 C.7.6.2.1.1). Arrays are indexed (slice, row, column).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grid", "SliceStack"]

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceStack:
    """The planes of a series, sorted along their common normal; sheared when the gantry was tilted.

    ``row_direction`` points along a row (towards growing column index), ``column_direction`` along a column (towards
    growing row index); both are unit vectors. ``origins_mm`` holds the centre of the first pixel of each slice.
    """

    origins_mm: Points
    row_direction: Points
    column_direction: Points
    row_spacing_mm: float
    """Distance between the centres of neighbouring rows."""
    column_spacing_mm: float
    rows: int
    columns: int

    @property
    def normal(self) -> Points:
        """Unit normal of the slices: row direction x column direction."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def positions_mm(self) -> Points:
        """Position of each slice along the normal, shape (n,), strictly increasing."""
        return self.origins_mm @ self.normal

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        return len(self.origins_mm), self.rows, self.columns

    def to_patient(self, indices: Points) -> Points:
        """Map (slice, row, column) indices, shape (..., 3), to patient mm; slice indices may be fractional."""
        index = np.arange(len(self.origins_mm))
        origin = np.stack([np.interp(indices[..., 0], index, self.origins_mm[:, axis]) for axis in range(3)], axis=-1)
        return (
            origin
            + indices[..., 1, None] * self.row_spacing_mm * self.column_direction
            + indices[..., 2, None] * self.column_spacing_mm * self.row_direction
        )

    def to_index(self, points_mm: Points) -> Points:
        """Map patient mm, shape (..., 3), to fractional (slice, row, column) indices, the slice held at the ends."""
        index = np.arange(len(self.origins_mm))
        slices = np.interp(points_mm @ self.normal, self.positions_mm, index)
        origin = np.stack([np.interp(slices, index, self.origins_mm[:, axis]) for axis in range(3)], axis=-1)
        rows = (points_mm - origin) @ self.column_direction / self.row_spacing_mm
        columns = (points_mm - origin) @ self.row_direction / self.column_spacing_mm
        return np.stack([slices, rows, columns], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """An orthogonal grid of cubic cells in patient space.

    ``axes`` is a (3, 3) matrix whose rows are the unit directions of growing slice, row and column index, so that
    ``patient = origin_mm + spacing_mm * index @ axes``. ``origin_mm`` is the centre of the first cell. The axes are
    those of the source series: (normal, column_direction, row_direction).
    """

    origin_mm: Points
    axes: Points
    spacing_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, points_mm: Points, stack: SliceStack, *, spacing_mm: float, margin_mm: float) -> Grid:
        """Return the grid parallel to ``stack`` that holds ``points_mm`` with a margin, and nothing beyond the scan.

        Args:
            points_mm: patient coordinates, shape (n, 3), n >= 1.
            stack: the slices; the grid takes its axes from them.
            spacing_mm: edge of a cell.
            margin_mm: how far the grid reaches beyond the points, on each side.
        """
        axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
        _, rows, columns = stack.shape
        corner_indices = [[k, r, c] for k in (0, stack.shape[0] - 1) for r in (0, rows - 1) for c in (0, columns - 1)]
        corners = stack.to_patient(np.array(corner_indices, np.float64)) @ axes.T
        wanted = points_mm @ axes.T
        low = np.maximum(wanted.min(axis=0) - margin_mm, corners.min(axis=0))
        high = np.minimum(wanted.max(axis=0) + margin_mm, corners.max(axis=0))
        cells = np.maximum(np.floor((high - low) / spacing_mm).astype(int) + 1, 1)
        return cls(
            origin_mm=low @ axes, axes=axes, spacing_mm=spacing_mm, shape=(int(cells[0]), int(cells[1]), int(cells[2]))
        )

    def to_patient(self, indices: Points) -> Points:
        """Map (slice, row, column) indices, shape (..., 3), to patient mm."""
        mapped: Points = self.origin_mm + self.spacing_mm * indices @ self.axes
        return mapped

    def to_index(self, points_mm: Points) -> Points:
        """Map patient mm, shape (..., 3), to fractional (slice, row, column) indices."""
        mapped: Points = (points_mm - self.origin_mm) @ self.axes.T / self.spacing_mm
        return mapped
