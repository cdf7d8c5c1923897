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
        origin = np.stack(
            [np.interp(indices[..., 0], index, self.origins_mm[:, axis]) for axis in range(3)], axis=-1
        )
        return (
            origin
            + indices[..., 1, None] * self.row_spacing_mm * self.column_direction
            + indices[..., 2, None] * self.column_spacing_mm * self.row_direction
        )


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

    def to_patient(self, indices: Points) -> Points:
        """Map (slice, row, column) indices, shape (..., 3), to patient mm."""
        mapped: Points = self.origin_mm + self.spacing_mm * indices @ self.axes
        return mapped

    def to_index(self, points_mm: Points) -> Points:
        """Map patient mm, shape (..., 3), to fractional (slice, row, column) indices."""
        mapped: Points = (points_mm - self.origin_mm) @ self.axes.T / self.spacing_mm
        return mapped
