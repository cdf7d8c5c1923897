"""Cubic interpolation by true positions, along one axis and of a whole scan.

A CT series is sampled unevenly more often than its header admits. The weights here are those of a Catmull-Rom
spline whose support points may lie anywhere, so that an even grid is the special case and not the assumption.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sbnode.inference.geometry import Grid, SliceStack

__all__ = ["interpolation_matrix", "resample"]


def interpolation_matrix(source: NDArray[np.float64], target: NDArray[np.float64]) -> sparse.csr_matrix:
    """Return the matrix that interpolates samples at ``source`` to the positions ``target``.

    Cubic Hermite interpolation whose tangents are the secants of the neighbours (Catmull & Rom, 1974). For evenly
    spaced samples it equals Keys' cubic convolution with a = -0.5 (Keys, IEEE TASSP 29, 1981). Beyond the first and
    the last sample the end value is held.

    Args:
        source: strictly increasing positions of the samples, shape (n,), mm or any one unit, n >= 1.
        target: positions wanted, shape (m,), same unit and origin.

    Returns:
        Sparse matrix (m, n), float32; each row sums to one.

    Raises:
        ValueError: when ``source`` is empty or does not increase strictly.
    """
    n = source.size
    if n == 0 or np.any(np.diff(source) <= 0):
        raise ValueError("source positions must increase strictly and not be empty")
    if n == 1:
        return sparse.csr_matrix(np.ones((target.size, 1), np.float32))
    x = np.clip(target, source[0], source[-1])
    left = np.clip(np.searchsorted(source, x, side="right") - 1, 0, n - 2)
    before, right, after = np.maximum(left - 1, 0), left + 1, np.minimum(left + 2, n - 1)
    gap = source[right] - source[left]
    t = (x - source[left]) / gap
    h00, h01 = (1 + 2 * t) * (1 - t) ** 2, t**2 * (3 - 2 * t)
    h10 = t * (1 - t) ** 2 * gap / (source[right] - source[before])
    h11 = t**2 * (t - 1) * gap / (source[after] - source[left])
    # The tangent at an inner sample is the secant of its two neighbours; at an end it is one-sided.
    columns = np.stack([before, left, right, after], axis=1)
    weights = np.stack([-h10, h00 - h11, h01 + h10, h11], axis=1)
    rows = np.repeat(np.arange(target.size), 4)
    matrix = sparse.csr_matrix((weights.ravel().astype(np.float32), (rows, columns.ravel())), shape=(target.size, n))
    matrix.sum_duplicates()
    return matrix


def resample(hu: NDArray[np.int16], stack: SliceStack, grid: Grid, *, outside: int) -> NDArray[np.int16]:
    """Resample a scan onto a grid whose axes are those of its slices.

    Interpolation runs through the stack as it was scanned: between two slices along the line that joins pixels of
    the same row and column, which in a tilted scan is slanted, then in the plane.

    Args:
        hu: Hounsfield units, shape ``stack.shape``.
        stack: where the slices lie.
        grid: the target; ``grid.axes`` must be (normal, column direction, row direction) of the stack.
        outside: the value of cells beyond the scan.

    Returns:
        Hounsfield units, int16, shape ``grid.shape``.

    Raises:
        ValueError: when the grid isn't parallel to the slices.
    """
    axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
    if not np.allclose(axes, grid.axes, atol=1e-6):
        raise ValueError("the grid must be parallel to the slices")
    index = np.arange(grid.shape[0])
    depth_mm = np.asarray(float(grid.origin_mm @ stack.normal) + grid.spacing_mm * index, np.float64)
    positions_mm = stack.positions_mm
    between = interpolation_matrix(positions_mm, depth_mm)
    slanted = between @ stack.origins_mm
    resampled = np.full(grid.shape, outside, np.int16)
    half_step_mm = float(np.median(np.diff(positions_mm))) / 2
    inside = (depth_mm >= positions_mm[0] - half_step_mm) & (depth_mm <= positions_mm[-1] + half_step_mm)

    def fill(k: int) -> None:
        weights = between[[k]]
        plane = np.tensordot(weights.data, hu[weights.indices].astype(np.float32), axes=1)
        offset_mm = grid.origin_mm - slanted[k]
        down = _line(float(offset_mm @ stack.column_direction), stack.row_spacing_mm, stack.rows, grid, 1)
        across = _line(float(offset_mm @ stack.row_direction), stack.column_spacing_mm, stack.columns, grid, 2)
        values = across.matrix @ (down.matrix @ plane).T
        part = np.rint(np.clip(values.T, -32768, 32767)).astype(np.int16)
        resampled[k, down.first : down.last, across.first : across.last] = part

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, np.flatnonzero(inside)))
    return resampled


@dataclass(frozen=True, slots=True)
class _Line:
    """The target cells ``first`` to ``last`` (exclusive) of one axis, and how they come from the pixels."""

    first: int
    last: int
    matrix: sparse.csr_matrix


def _line(offset_mm: float, spacing_mm: float, pixels: int, grid: Grid, axis: int) -> _Line:
    """Cells of ``grid`` along ``axis`` that lie over the pixels; ``offset_mm`` is that of the first cell."""
    target = np.asarray((offset_mm + grid.spacing_mm * np.arange(grid.shape[axis])) / spacing_mm, np.float64)
    covered = np.flatnonzero((target >= -0.5) & (target <= pixels - 0.5))
    first, last = (int(covered[0]), int(covered[-1]) + 1) if covered.size else (0, 0)
    return _Line(first, last, interpolation_matrix(np.arange(pixels, dtype=np.float64), target[first:last]))
