"""The bone of the fine grid, rendered on the voxels of the source slices.

A source voxel is bone where the level at its centre, sampled trilinearly, is above 0. That alone loses what
is thinner than the voxels: a plate or a canal that passes between two centres. So on each line of voxel
centres, along slices, rows and columns, a stretch of bone between two centres that are both open, or of
opening between two that are both bone, is given to the voxel it lies in. Thick bone doesn't grow and wide
openings don't shrink by this rule. Last, every voxel into which a canal reaches, and no thin plate, is opened,
so that a canal narrower than the slices are thick stays passable from slice to slice; it gets wider than it is.

What that keeps and costs stands in ``benchmarks/results`` ("sbnode, SEG on the slices").
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, reduce
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid, SliceStack

__all__ = ["native_masks"]

_AXIS_TOLERANCE = 1e-4
"""Largest difference of a direction cosine between grid and slices; 0.03 mm over a head."""
_STEPS_PER_CELL = 2
"""Samples per cell of the fine grid on the lines between voxel centres."""

Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]


def native_masks(bone: Bone, stack: SliceStack) -> tuple[Mask, Mask]:
    """Return certain and inferred bone on the source slices: two disjoint masks of shape ``stack.shape``.

    A voxel is inferred where most of the bone cells in it are. Tilted and unevenly spaced slices are followed
    by their true positions.

    Raises:
        ValueError: the axes of the grid aren't those of the slices.
    """
    axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
    if not np.allclose(axes, bone.grid.axes, atol=_AXIS_TOLERANCE):
        raise ValueError("the fine grid must have the axes of the source slices")
    centres, certain, inferred = (np.zeros(stack.shape, bool) for _ in range(3))
    field = _Field(bone, stack)
    slices = field.slices()
    for k in slices:
        rows, columns = field.window(k)
        centres[k, rows, columns] = field.sample(k, rows, columns) > 0
    opened = _reached(bone.canal, bone.grid, stack) & ~_reached(bone.plate, bone.grid, stack)
    for k in slices:
        rows, columns = field.window(k)
        kept = _keep_thin(field, centres, k, rows, columns)
        kept &= ~opened[k, rows, columns]
        doubtful = kept & field.mostly_inferred(k, rows, columns)
        certain[k, rows, columns], inferred[k, rows, columns] = kept & ~doubtful, doubtful
    return certain, inferred


def _reached(marked: Mask, grid: Grid, stack: SliceStack) -> Mask:
    """Return the voxels that the marked cells of the fine grid reach into, shape ``stack.shape``.

    Each cell is sampled at the middles of its eight octants.
    """
    reached = np.zeros(stack.shape, bool)
    cells = np.argwhere(marked)
    for octant in product((-0.25, 0.25), repeat=3):
        index = np.rint(stack.to_index(grid.to_patient(cells + np.array(octant)))).astype(np.intp)
        index = index[((index >= 0) & (index < stack.shape)).all(axis=1)]
        reached[tuple(index.T)] = True
    return reached


def _keep_thin(field: _Field, centres: Mask, k: int, rows: slice, columns: slice) -> Mask:
    """Return slice ``k`` with the plates and gaps between voxel centres given to their voxels."""
    here = centres[k, rows, columns]
    empty = np.zeros_like(here)
    below = centres[k - 1, rows, columns] if k > 0 else empty
    above = centres[k + 1, rows, columns] if k + 1 < len(centres) else empty
    kept = here.copy()
    for some, every, neighbours in (
        (*field.along_slices(k, rows, columns), (below, above)),
        (*field.along_rows(k, rows, columns), _shifted(here, axis=1)),
        (*field.along_columns(k, rows, columns), _shifted(here, axis=0)),
    ):
        kept |= some & ~here & ~neighbours[0] & ~neighbours[1]
        kept &= every | ~(here & neighbours[0] & neighbours[1])
    return kept


def _shifted(mask: Mask, axis: int) -> tuple[Mask, Mask]:
    before, after = np.zeros_like(mask), np.zeros_like(mask)
    if axis == 0:
        before[1:], after[:-1] = mask[:-1], mask[1:]
    else:
        before[:, 1:], after[:, :-1] = mask[:, :-1], mask[:, 1:]
    return before, after


class _Field:
    """The level inside the bounding box of the bone, sampled at positions of the slice stack.

    The grid has the axes of the slices, so that a slice is a blend of two grid planes and a shift, and its
    rows and columns are resampled one after the other by sparse matrices.
    """

    def __init__(self, bone: Bone, stack: SliceStack) -> None:
        mask = bone.level > 0
        box = tuple(_span(np.asarray(mask.any(axis=axes))) for axes in ((1, 2), (0, 2), (0, 1)))
        self._corner = np.array([span.start for span in box], np.float64)
        self._level, self._mask, self._inferred = bone.level[box], mask[box], bone.inferred[box]
        spacing_mm = bone.grid.spacing_mm
        self._steps = np.array([stack.row_spacing_mm, stack.column_spacing_mm]) / spacing_mm
        self._stack = stack
        self._origins = bone.grid.to_index(stack.origins_mm) - self._corner
        """Grid index of the first pixel of each slice, relative to the box, shape (slices, 3)."""

    def slices(self) -> range:
        """Slices that may hold bone: those in the box and the next beyond it on either side."""
        z = self._origins[:, 0]
        first = int(np.searchsorted(z, -1))
        last = int(np.searchsorted(z, self._level.shape[0]))
        return range(max(first - 1, 0), min(last + 1, len(z)))

    def window(self, k: int) -> tuple[slice, slice]:
        """Rows and columns of slice ``k`` that lie in the box, one more on either side."""
        found = []
        for axis, count in ((0, self._stack.rows), (1, self._stack.columns)):
            start, step = self._origins[k, axis + 1], self._steps[axis]
            first = int(np.floor(-start / step)) - 1
            last = int(np.ceil((self._level.shape[axis + 1] - 1 - start) / step)) + 2
            found.append(slice(min(max(first, 0), count), min(max(last, 0), count)))
        return found[0], found[1]

    def sample(self, k: float, rows: slice, columns: slice, refine: tuple[int, int] = (1, 1)) -> Plane:
        """Return the level at the voxel centres of the fractional slice ``k``; 0 outside of the box.

        ``refine`` samples each row and column that many times, evenly over the voxel.
        """
        origin = self._origin(k)
        plane = self._plane(origin[0])
        if plane is None:
            return np.zeros(
                ((rows.stop - rows.start) * refine[0], (columns.stop - columns.start) * refine[1]), np.float32
            )
        down = self._weights(0, origin, rows, refine[0])
        across = self._weights(1, origin, columns, refine[1])
        sampled: Plane = np.asarray((across @ (down @ plane).T).T)
        return sampled

    def along_slices(self, k: int, rows: slice, columns: slice) -> tuple[Mask, Mask]:
        """Return whether some of, and whether every, sample between the slices next to ``k`` is bone."""
        parts = [self.sample(fraction, rows, columns) > 0 for fraction in self._between_slices(k)]
        return reduce(np.logical_or, parts), reduce(np.logical_and, parts)

    def along_rows(self, k: int, rows: slice, columns: slice) -> tuple[Mask, Mask]:
        """The same between the voxels left and right."""
        count = _count(self._steps[1])
        found = self.sample(k, rows, columns, (1, count)) > 0
        parts = [found[:, part::count] for part in range(count)]
        return reduce(np.logical_or, parts), reduce(np.logical_and, parts)

    def along_columns(self, k: int, rows: slice, columns: slice) -> tuple[Mask, Mask]:
        """The same between the voxels above and below in the slice."""
        count = _count(self._steps[0])
        found = self.sample(k, rows, columns, (count, 1)) > 0
        parts = [found[part::count] for part in range(count)]
        return reduce(np.logical_or, parts), reduce(np.logical_and, parts)

    def mostly_inferred(self, k: int, rows: slice, columns: slice) -> Mask:
        """Return where more than half of the bone around the voxels of slice ``k`` is inferred."""
        origin = self._origin(k)
        ends = [self._origin(max(k - 0.5, 0))[0], self._origin(min(k + 0.5, len(self._origins) - 1))[0]]
        first, last = int(np.rint(min(ends))), int(np.rint(max(ends)))
        planes = slice(max(first, 0), max(last + 1, 0))
        inferred = self._inferred[planes].sum(axis=0, dtype=np.float32)
        if not inferred.any():
            return np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        difference = 2 * inferred - self._mask[planes].sum(axis=0, dtype=np.float32)
        down = self._weights(0, origin, rows, 1, reach=self._steps[0] / 2)
        across = self._weights(1, origin, columns, 1, reach=self._steps[1] / 2)
        found: Mask = np.asarray((across @ (down @ difference).T).T > 0)
        return found

    def _weights(
        self, axis: int, origin: NDArray[np.float64], voxels: slice, refine: int, reach: float = 1.0
    ) -> sparse.csr_matrix:
        # Rounded so that the slices of an untilted series, equal but for the last bits, share their weights.
        cells, start = self._level.shape[axis + 1], round(float(origin[axis + 1]), 6)
        return _weights(cells, start, float(self._steps[axis]), voxels.start, voxels.stop, refine, reach)

    def _origin(self, k: float) -> NDArray[np.float64]:
        low = int(np.clip(np.floor(k), 0, len(self._origins) - 1))
        high = min(low + 1, len(self._origins) - 1)
        step: NDArray[np.float64] = self._origins[high] - self._origins[low]
        return np.asarray(self._origins[low] + (k - low) * step)

    def _plane(self, z: float) -> Plane | None:
        count = self._level.shape[0]
        if not -0.5 < z < count - 0.5:
            return None
        low = int(np.clip(np.floor(z), 0, count - 1))
        share = np.float32(np.clip(z - low, 0, 1))
        if share == 0 or low + 1 == count:
            return np.asarray(self._level[low])
        blended: Plane = self._level[low] * (1 - share) + self._level[low + 1] * share
        return blended

    def _between_slices(self, k: int) -> Iterator[float]:
        for neighbour in (k - 1, k + 1):
            if 0 <= neighbour < len(self._origins):
                half = abs(self._origins[neighbour, 0] - self._origins[k, 0]) / 2
                count = max(1, int(np.ceil(half * _STEPS_PER_CELL)))
                yield from (k + (neighbour - k) * (i + 0.5) / count / 2 for i in range(count))
        yield float(k)


def _span(filled: Mask) -> slice:
    """Indices from the first to the last True and one beyond, so that the surface lies inside."""
    found = np.flatnonzero(filled)
    if not found.size:
        return slice(0, 1)
    return slice(max(int(found[0]) - 1, 0), min(int(found[-1]) + 2, filled.size))


def _count(step: float) -> int:
    return max(2, int(np.ceil(step * _STEPS_PER_CELL)))


@lru_cache(maxsize=64)
def _weights(
    cells: int, origin: float, step: float, start: int, stop: int, refine: int, reach: float
) -> sparse.csr_matrix:
    """Return the matrix, (voxels * refine, cells), that samples ``cells`` at voxels ``start`` to ``stop``.

    Weights fall linearly to 0 at a distance of ``reach`` cells, at least 1; with 1 it is linear
    interpolation. A position more than half a cell outside has no weights.
    """
    index = np.arange(start * refine, stop * refine)
    position = origin + step * ((index + 0.5) / refine - 0.5)
    reach = max(reach, 1.0)
    width = int(np.ceil(2 * reach)) + 1
    neighbours = np.floor(position - reach).astype(np.int64)[:, None] + np.arange(width)
    weights = np.clip(1 - np.abs(neighbours - position[:, None]) / reach, 0, None)
    weights[(position <= -0.5) | (position >= cells - 0.5)] = 0
    total = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, total, out=weights, where=total > 0)
    rows = np.repeat(np.arange(index.size), width)
    columns = np.clip(neighbours, 0, cells - 1).ravel()
    matrix = sparse.csr_matrix((weights.ravel().astype(np.float32), (rows, columns)), shape=(index.size, cells))
    matrix.eliminate_zeros()
    return matrix
