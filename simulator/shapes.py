"""Geometric primitives on a fine grid: distances in mm, and cell fractions that keep the mass exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from sbnode.inference.resampling import interpolation_matrix

FloatArray = NDArray[np.float32]
Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FineGrid:
    """A cube of `count`^3 cells of `step_mm`; coordinates run from 0 to `length_mm`, (slice, row, column)."""

    count: int
    step_mm: float

    @property
    def length_mm(self) -> float:
        """Edge of the cube."""
        return self.count * self.step_mm

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along each axis."""
        return (self.count, self.count, self.count)

    def axes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Cell centres as three broadcastable arrays."""
        line = ((np.arange(self.count) + 0.5) * self.step_mm).astype(np.float32)
        return line[:, None, None], line[None, :, None], line[None, None, :]


def direction(random: np.random.Generator) -> Vector:
    """A unit vector, uniform on the sphere."""
    vector = random.standard_normal(3)
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


def across(axis: Vector, random: np.random.Generator) -> tuple[Vector, Vector]:
    """Two unit vectors that span the plane normal to `axis`."""
    first = np.cross(axis, direction(random))
    first /= np.linalg.norm(first)
    return first, np.cross(axis, first)


def linear(grid: FineGrid, normal: Vector, origin_mm: Vector) -> FloatArray:
    """Signed distance to the plane through `origin_mm`, positive along `normal`."""
    z, y, x = grid.axes()
    offset = np.float32(normal @ origin_mm)
    plane: FloatArray = z * float(normal[0]) + y * float(normal[1]) + x * float(normal[2]) - offset
    return plane


def smooth_field(grid: FineGrid, knots: int, random: np.random.Generator) -> FloatArray:
    """A smooth random field of about unit deviation, cubic between `knots`^3 normal values."""
    values = random.standard_normal((knots, knots, knots)).astype(np.float32)
    source = np.linspace(-0.1, 1.1, knots) * grid.length_mm
    matrix = interpolation_matrix(
        source.astype(np.float64), (np.arange(grid.count, dtype=np.float64) + 0.5) * grid.step_mm
    )
    return apply_axes(values, (matrix, matrix, matrix)) * np.float32(1.3)


def apply_axes(field: NDArray[Any], matrices: tuple[Any, Any, Any]) -> FloatArray:
    """Apply one (n_out, n_in) matrix, dense or sparse, along each of the three axes."""
    result = np.asarray(field, dtype=np.float32)
    for axis, matrix in enumerate(matrices):
        moved = np.moveaxis(result, axis, 0)
        flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
        if not sparse.issparse(matrix):
            matrix = np.asarray(matrix, dtype=np.float32)
        mapped = np.asarray(matrix @ flat, dtype=np.float32)
        result = np.moveaxis(mapped.reshape(-1, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(result)


def unit_slope(level: FloatArray, step_mm: float) -> FloatArray:
    """Turn a level function into a distance to its zero set, to first order: level / |gradient|."""
    squared = np.full(level.shape, 1e-4, dtype=np.float32)
    for axis in range(3):
        squared += np.gradient(level, step_mm, axis=axis).astype(np.float32) ** 2
    return np.asarray(level / np.sqrt(squared), dtype=np.float32)


def slab_fraction(distance_mm: FloatArray, thickness_mm: FloatArray | float, step_mm: float) -> FloatArray:
    """Fraction of each cell inside |distance| < thickness / 2.

    The cell is taken as a box of `step_mm` along the normal, so that the sum over cells across the plate is
    thickness / step whatever the phase, for plates thinner than a cell too.
    """
    half = np.asarray(thickness_mm, dtype=np.float32) * np.float32(0.5)
    cell = np.float32(step_mm * 0.5)
    upper = np.minimum(distance_mm + cell, half)
    lower = np.maximum(distance_mm - cell, -half)
    return np.asarray(np.maximum(upper - lower, 0.0) / np.float32(step_mm), dtype=np.float32)


def inside_fraction(distance_mm: FloatArray, step_mm: float) -> FloatArray:
    """Fraction of each cell on the negative side of a surface."""
    return np.asarray(np.clip(0.5 - distance_mm / np.float32(step_mm), 0.0, 1.0), dtype=np.float32)


def tube_radius(radius_mm: FloatArray | float, step_mm: float) -> FloatArray | float:
    """The radius to give to `inside_fraction` so that the cross-section keeps its area pi r^2."""
    return np.sqrt(np.maximum(np.square(radius_mm) - step_mm**2 / 12.0, (0.25 * step_mm) ** 2))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A gently curved axis: a line through `origin_mm` along `along`, bent by a sine in two directions."""

    origin_mm: Vector
    along: Vector
    first: Vector
    second: Vector
    bend_mm: tuple[float, float] = (0.0, 0.0)
    period_mm: float = 25.0
    turn: tuple[float, float] = (0.0, 0.0)


def curve(origin_mm: Vector, along: Vector, bend_mm: float, random: np.random.Generator) -> Curve:
    """A curve through `origin_mm` with a random bend of up to `bend_mm`."""
    first, second = across(along, random)
    return Curve(
        origin_mm=origin_mm,
        along=along,
        first=first,
        second=second,
        bend_mm=(bend_mm * random.uniform(0.3, 1.0), bend_mm * random.uniform(0.0, 0.6)),
        period_mm=random.uniform(12.0, 40.0),
        turn=(random.uniform(0, 2 * np.pi), random.uniform(0, 2 * np.pi)),
    )


def curve_distance(grid: FineGrid, path: Curve, flatness: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Distance to a curve and the position along it, both in mm.

    `flatness` above one makes the cross-section an ellipse, longer along `path.second`.
    """
    s = linear(grid, path.along, path.origin_mm)
    offsets = []
    slopes = []
    for axis, bend, turn in zip((path.first, path.second), path.bend_mm, path.turn, strict=True):
        rate = 2.0 * np.pi / path.period_mm
        phase = np.float32(rate) * s + np.float32(turn)
        shift = np.float32(bend) * (np.sin(phase) - np.float32(np.sin(turn)))
        offsets.append(linear(grid, axis, path.origin_mm) - shift)
        slopes.append(np.float32(bend * rate) * np.cos(phase))
    a, b = offsets[0], offsets[1] / np.float32(flatness)
    radial = np.sqrt(a * a + b * b)
    # The distance in the normal plane overstates the true one by the secant of the curve's slope.
    along_radius = (a * slopes[0] + offsets[1] * slopes[1]) / np.maximum(radial, np.float32(1e-3))
    distance = radial / np.sqrt(1.0 + along_radius**2)
    return np.asarray(distance, dtype=np.float32), s


def ring_distance(grid: FineGrid, centre_mm: Vector, axis: Vector, radius_mm: float) -> FloatArray:
    """Distance to a circle: the axis of a semicircular canal."""
    height = linear(grid, axis, centre_mm)
    z, y, x = grid.axes()
    squared = (z - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (x - centre_mm[2]) ** 2
    radial = np.sqrt(np.maximum(squared - height**2, 0.0)) - radius_mm
    return np.asarray(np.sqrt(radial**2 + height**2), dtype=np.float32)


def ball_distance(grid: FineGrid, centre_mm: Vector, semi_axes_mm: Vector) -> FloatArray:
    """Approximate signed distance to an ellipsoid aligned with the grid, negative inside."""
    z, y, x = grid.axes()
    scaled = [(a - c) / r for a, c, r in zip((z, y, x), centre_mm, semi_axes_mm, strict=True)]
    radius = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    return np.asarray((radius - 1.0) * float(np.min(semi_axes_mm)), dtype=np.float32)


def lattice_distance(warped: tuple[FloatArray, FloatArray, FloatArray], pitch_mm: Vector) -> FloatArray:
    """Distance to the nearest wall of a brick lattice in warped coordinates."""
    nearest: FloatArray | None = None
    for coordinate, pitch in zip(warped, pitch_mm, strict=True):
        phase = np.abs(np.mod(coordinate / np.float32(pitch), 1.0) - 0.5)
        wall = (0.5 - phase) * np.float32(pitch)
        nearest = wall if nearest is None else np.minimum(nearest, wall)
    assert nearest is not None
    return np.asarray(nearest, dtype=np.float32)


def block_max(field: NDArray[Any], factor: int) -> NDArray[Any]:
    """Maximum over blocks of `factor`^3 cells."""
    d, h, w = (size // factor for size in field.shape)
    cells = field[: d * factor, : h * factor, : w * factor].reshape(d, factor, h, factor, w, factor)
    return cells.max(axis=(1, 3, 5))  # type: ignore[no-any-return]


def block_mean(field: NDArray[Any], factor: int) -> FloatArray:
    """Mean over blocks of `factor`^3 cells: occupancy on a coarser grid, exact."""
    d, h, w = (size // factor for size in field.shape)
    cells = field[: d * factor, : h * factor, : w * factor].reshape(d, factor, h, factor, w, factor)
    return np.asarray(cells.mean(axis=(1, 3, 5), dtype=np.float32), dtype=np.float32)


def blur(field: FloatArray, sigma_cells: float) -> FloatArray:
    """Gaussian blur, in cells."""
    return np.asarray(ndimage.gaussian_filter(field, sigma_cells, truncate=3.0), dtype=np.float32)
