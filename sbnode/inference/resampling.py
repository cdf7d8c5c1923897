"""Cubic interpolation along one axis, by true positions.

A CT series is sampled unevenly more often than its header admits. The weights here are those of a Catmull-Rom
spline whose support points may lie anywhere, so that an even grid is the special case and not the assumption.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["interpolation_matrix"]


def interpolation_matrix(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> sparse.csr_matrix:
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
    matrix = sparse.csr_matrix(
        (weights.ravel().astype(np.float32), (rows, columns.ravel())), shape=(target.size, n)
    )
    matrix.sum_duplicates()
    return matrix
