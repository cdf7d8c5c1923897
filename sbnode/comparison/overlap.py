"""Two bones on one grid, and how much of them they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid

__all__ = ["Overlap", "common_grid", "on_grid"]

OUTSIDE = -0.5
"""Level beyond the grid of a bone: none is there."""
_SAME = 1e-6
"""Grids whose origins and axes differ by less, in mm and as cosines, are the same."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much bone A and B share. Volumes in mL; Dice, twice the shared share of both, 1 where both are empty.

    Dice LR, Ecology 26:297 (1945), https://doi.org/10.2307/1932409.
    """

    dice: float
    only_a_ml: float
    only_b_ml: float

    @classmethod
    def of(cls, a: Bone, b: Bone) -> Overlap:
        """Compare two bones on one grid."""
        in_a, in_b = a.level > 0, b.level > 0
        count_a, count_b, both = (int(np.count_nonzero(mask)) for mask in (in_a, in_b, in_a & in_b))
        cell_ml = a.grid.spacing_mm**3 / 1000
        dice = 2 * both / (count_a + count_b) if count_a + count_b else 1.0
        return cls(dice, (count_a - both) * cell_ml, (count_b - both) * cell_ml)


def common_grid(a: Grid, b: Grid) -> Grid:
    """Return a grid that holds both: ``a`` itself where they are the same, else cells of ``a`` put on at its ends.

    So A keeps its cells and only B has to be sampled anew.
    """
    if _is_same(a, b):
        return a
    corners = np.array(np.meshgrid(*[(0.0, n - 1.0) for n in b.shape], indexing="ij")).reshape(3, -1).T
    reach = a.to_index(b.to_patient(corners))
    low = np.minimum(np.floor(reach.min(axis=0) + _SAME), 0).astype(int)
    high = np.maximum(np.ceil(reach.max(axis=0) - _SAME), np.array(a.shape) - 1).astype(int)
    cells = high - low + 1
    return Grid(
        origin_mm=a.to_patient(low.astype(np.float64)),
        axes=a.axes,
        spacing_mm=a.spacing_mm,
        shape=(int(cells[0]), int(cells[1]), int(cells[2])),
    )


def on_grid(bone: Bone, grid: Grid) -> Bone:
    """Return ``bone`` on another grid: the level by trilinear interpolation, what is inferred by the nearest cell.

    Marks of canals and plates are left out.
    """
    if _is_same(bone.grid, grid):
        return bone
    level = _sampled(bone.level, bone.grid, grid, 1, OUTSIDE)
    inferred = _sampled(bone.inferred.view(np.uint8), bone.grid, grid, 0, 0) > 0
    nothing = np.zeros(grid.shape, np.bool_)
    return Bone(grid=grid, level=level, inferred=inferred & (level > 0), canal=nothing, plate=nothing)


def _sampled(
    array: NDArray[np.float32] | NDArray[np.uint8], own: Grid, grid: Grid, order: Literal[0, 1], outside: float
) -> NDArray[np.float32]:
    matrix = grid.spacing_mm / own.spacing_mm * own.axes @ grid.axes.T
    sampled = ndimage.affine_transform(
        array,
        np.diagonal(matrix) if np.allclose(matrix, np.diag(np.diagonal(matrix)), atol=_SAME) else matrix,
        offset=own.to_index(grid.origin_mm),
        output_shape=grid.shape,
        output=np.float32,
        order=order,
        mode="constant",
        cval=outside,
    )
    return np.asarray(sampled, np.float32)


def _is_same(a: Grid, b: Grid) -> bool:
    return (
        a.shape == b.shape
        and abs(a.spacing_mm - b.spacing_mm) < _SAME
        and np.allclose(a.origin_mm, b.origin_mm, rtol=0, atol=_SAME)
        and np.allclose(a.axes, b.axes, rtol=0, atol=_SAME)
    )
