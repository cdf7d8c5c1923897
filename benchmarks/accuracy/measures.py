"""What is measured on one scan: continuity, patency, recall, surfaces, thickness, false bone, closed holes.

A method hands over a level field: bone where it is positive, its surface the zero set; linear between samples,
or that of the nearest sample where the field is a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.accuracy.phantom import LENGTH_MM, RIM_MM, STEP_MM, FloatArray, Passage, Samples, Truth
from benchmarks.accuracy.scans import Field, at_points
from simulator import shapes

SCORE_MM = 0.2
"""Grid on which surfaces and volumes are compared."""

CONTINUITY_MM = (0.3, 1.0)
PATENCY_MM = (0.8, 1.5)
THICKNESS_MM = (0.4, 0.6)
FAR_MM = 0.6
PLATE_BINS_MM = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0)
CANAL_BINS_MM = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0)
"""A plate or canal counts for the nearest of these in the curves."""
WIDE_HOLE_MM = 1.0
FINE_MM = 0.05
"""Step of rays and of the straightened passages."""

Mask = NDArray[np.bool_]


def _no_cases(bins: tuple[float, ...]) -> NDArray[np.int64]:
    return np.zeros((len(bins), 2), np.int64)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Sums over scans, from which `rates` makes the figures. Distances in mm.

    `by_thickness` and `by_calibre` (bin, 2) hold the rays and canals of each bin, and how many of them are found.
    """

    by_thickness: NDArray[np.int64] = field(default_factory=partial(_no_cases, PLATE_BINS_MM))
    by_calibre: NDArray[np.int64] = field(default_factory=partial(_no_cases, CANAL_BINS_MM))
    rays: int = 0
    rays_hit: int = 0
    canals: int = 0
    canals_open: int = 0
    thin_points: int = 0
    thin_found: int = 0
    gap_points: int = 0
    gap_free: int = 0
    holes: int = 0
    holes_closed: int = 0
    wide_holes: int = 0
    wide_holes_closed: int = 0
    surface_cells: int = 0
    within_250um: int = 0
    within_500um: int = 0
    within_1mm: int = 0
    scans: int = 0
    hd95_mm: float = 0.0
    distance_mm: float = 0.0
    runs: int = 0
    run_ratio: float = 0.0
    far_cells: int = 0
    far_bone: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in self.__dict__})


@dataclass(frozen=True)
class Reference:
    """The truth of one test object, prepared for scoring many methods."""

    truth: Truth

    @cached_property
    def bone(self) -> Mask:
        """True bone on the scoring grid, rim cut off."""
        mean = shapes.block_mean(self.truth.bone, round(SCORE_MM / STEP_MM))
        return np.asarray(_inner(mean) >= 0.45)

    @cached_property
    def from_bone_mm(self) -> FloatArray:
        """Distance of each cell to true bone."""
        return _distance(self.bone)

    @cached_property
    def surface(self) -> Mask:
        """Border cells of the true bone."""
        return _border(self.bone)

    @cached_property
    def from_surface_mm(self) -> FloatArray:
        """Distance of each cell to the border of true bone."""
        return _distance(self.surface)

    @cached_property
    def field(self) -> Field:
        """The true level: bone fraction minus one half."""
        half = np.full(3, 0.5 * STEP_MM)
        return Field(values=self.truth.bone - np.float32(0.5), origin_mm=half, spacing_mm=2 * half)


def measure(level: Field, reference: Reference, tolerance_mm: float) -> Counts:
    """Score one method on one scan; `tolerance_mm` is the reach of the rays of continuity."""
    truth = reference.truth
    counts = _points(level, truth, tolerance_mm) + _surfaces(level, reference)
    for canal in truth.canals:
        passes = is_open(level, canal, 0.5 * canal.radius_mm)
        calibre_mm = np.array([2 * canal.radius_mm])
        counts += Counts(by_calibre=_binned(calibre_mm, np.array([passes]), CANAL_BINS_MM))
        if PATENCY_MM[0] - 1e-6 <= 2 * canal.radius_mm <= PATENCY_MM[1] + 1e-6:
            counts += Counts(canals=1, canals_open=int(passes))
    for hole in truth.holes:
        closed, wide = int(not is_open(level, hole, FINE_MM)), int(2 * hole.radius_mm >= WIDE_HOLE_MM)
        counts += Counts(holes=1, holes_closed=closed, wide_holes=wide, wide_holes_closed=wide * closed)
    for plate in truth.plates:
        counts += _runs(level, reference.field, plate)
    return counts


def _binned(sizes_mm: NDArray[np.float64], found: NDArray[np.bool_], bins_mm: tuple[float, ...]) -> NDArray[np.int64]:
    nearest = np.abs(np.log(sizes_mm)[:, None] - np.log(np.array(bins_mm))[None]).argmin(axis=1)
    return np.stack(
        [np.bincount(nearest, minlength=len(bins_mm)), np.bincount(nearest[found], minlength=len(bins_mm))], axis=1
    )


def mask_of(level: Field) -> Mask:
    """Bone on the scoring grid, rim cut off."""
    cells = round(LENGTH_MM / SCORE_MM)
    matrices = []
    for axis in range(3):
        at = ((np.arange(cells) + 0.5) * SCORE_MM - level.origin_mm[axis]) / level.spacing_mm[axis]
        make = _nearest_matrix if level.stepped else _linear_matrix
        matrices.append(make(at, level.values.shape[axis]))
    return np.asarray(_inner(shapes.apply_axes(level.values, (matrices[0], matrices[1], matrices[2]))) > 0)


def _linear_matrix(at: NDArray[np.float64], count: int) -> FloatArray:
    at = np.clip(at, 0, count - 1)
    left = np.minimum(at.astype(int), count - 2)
    weights = np.zeros((at.size, count), dtype=np.float32)
    weights[np.arange(at.size), left] = 1.0 - (at - left)
    weights[np.arange(at.size), left + 1] = at - left
    return weights


def _nearest_matrix(at: NDArray[np.float64], count: int) -> FloatArray:
    weights = np.zeros((at.size, count), dtype=np.float32)
    weights[np.arange(at.size), np.clip(np.rint(at), 0, count - 1).astype(int)] = 1.0
    return weights


def _inner(field: FloatArray) -> FloatArray:
    rim = round(RIM_MM / SCORE_MM)
    return field[rim:-rim, rim:-rim, rim:-rim]


def _border(mask: Mask) -> Mask:
    return np.asarray(mask & ~ndimage.binary_erosion(mask, border_value=1))


def _distance(mask: Mask) -> FloatArray:
    if not mask.any():
        return np.full(mask.shape, np.float32(10.0))
    away: FloatArray = ndimage.distance_transform_edt(~mask, sampling=SCORE_MM).astype(np.float32)
    return away


def _points(level: Field, truth: Truth, tolerance_mm: float) -> Counts:
    """Continuity along normals, bone found on thin mid-surfaces, free cells on narrow axes."""
    counts = Counts()
    for plate in truth.plates:
        hit = rays(level, plate, tolerance_mm)
        low, high = CONTINUITY_MM
        counted = (plate.thickness_mm > low - 1e-6) & (plate.thickness_mm < high + 1e-6)
        found = at_points(level, plate.points_mm) > 0
        counts += Counts(
            rays=int(counted.sum()),
            rays_hit=int((hit & counted).sum()),
            thin_points=len(found),
            thin_found=int(found.sum()),
            by_thickness=_binned(plate.thickness_mm, hit, PLATE_BINS_MM),
        )
    free = at_points(level, truth.gaps_mm) <= 0
    return counts + Counts(gap_points=len(free), gap_free=int(free.sum()))


def rays(level: Field, plate: Samples, tolerance_mm: float) -> NDArray[np.bool_]:
    """Whether the ray along the normal of each sample meets bone within the tolerance."""
    steps = np.arange(-tolerance_mm, tolerance_mm + 1e-9, FINE_MM)
    ray = plate.points_mm[:, None] + steps[None, :, None] * plate.normals[:, None]
    return np.asarray((at_points(level, ray) > 0).any(axis=1))


def _surfaces(level: Field, reference: Reference) -> Counts:
    """Surface distances both ways, and bone far from any true bone."""
    found = mask_of(level)
    border = _border(found)
    to_truth = reference.from_surface_mm[border]
    to_found = _distance(border)[reference.surface]
    both = np.concatenate([to_truth, to_found])
    far = reference.from_bone_mm > FAR_MM
    return Counts(
        surface_cells=both.size,
        within_250um=int((both <= 0.25).sum()),
        within_500um=int((both <= 0.5).sum()),
        within_1mm=int((both <= 1.0).sum()),
        scans=1,
        hd95_mm=float(max((np.quantile(one, 0.95) for one in (to_truth, to_found) if one.size), default=0.0)),
        distance_mm=float(both.sum()),
        far_cells=int(far.sum()),
        far_bone=int((found & far).sum()),
    )


def is_open(level: Field, passage: Passage, calibre_radius_mm: float) -> bool:
    """Whether a ball of the given radius passes from end to end inside the true lumen.

    The passage is straightened onto (axis, first, second); its ends count as free.
    """
    half = int(np.ceil(passage.radius_mm / FINE_MM))
    side = np.arange(-half, half + 1) * FINE_MM
    a, b = np.meshgrid(side, side, indexing="ij")
    points = (
        passage.axis_mm[::1, None, None]
        + a[None, :, :, None] * passage.first[:, None, None]
        + b[None, :, :, None] * passage.second[:, None, None]
    )
    free = (at_points(level, points) <= 0) & (np.hypot(a, b) <= passage.radius_mm)[None]
    padded = np.pad(free, ((0, 0), (1, 1), (1, 1)))
    spacing = (float(np.linalg.norm(passage.axis_mm[1] - passage.axis_mm[0])), FINE_MM, FINE_MM)
    room = ndimage.distance_transform_edt(padded, sampling=spacing)
    labels, _ = ndimage.label(room > calibre_radius_mm, structure=np.ones((3, 3, 3)))
    ends = np.intersect1d(labels[0][labels[0] > 0], labels[-1][labels[-1] > 0])
    return bool(ends.size)


def _runs(level: Field, true_level: Field, plate: Samples) -> Counts:
    """Length of bone along the normal through a plate of about 0.5 mm, over its true thickness."""
    low, high = THICKNESS_MM
    keep = (plate.thickness_mm >= low) & (plate.thickness_mm <= high)
    if not keep.any():
        return Counts()
    steps = np.arange(-1.6, 1.6 + 1e-9, FINE_MM)
    ray = plate.points_mm[keep, None] + steps[None, :, None] * plate.normals[keep, None]
    thickness = plate.thickness_mm[keep]
    true_run = _central_run(at_points(true_level, ray) > 0)
    alone = np.abs(true_run - thickness) < 0.3 * thickness
    run = _central_run(at_points(level, ray) > 0)[alone]
    hit = run > 0
    ratio = run[hit] / thickness[alone][hit]
    return Counts(runs=int(hit.sum()), run_ratio=float(ratio.sum()))


def _central_run(inside: NDArray[Any]) -> NDArray[np.float64]:
    """Length in mm of the run of bone nearest to the middle of each ray (within 0.5 mm), else 0."""
    middle = inside.shape[1] // 2
    reach = round(0.5 / FINE_MM)
    offset = np.abs(np.arange(inside.shape[1]) - middle)
    cost = np.where(inside & (offset <= reach)[None], offset[None], 10_000)
    seed = np.argmin(cost, axis=1)
    rows = np.arange(len(inside))
    stops = ~inside
    positions = np.arange(inside.shape[1])[None]
    left = np.where(stops & (positions < seed[:, None]), positions, -1).max(axis=1)
    right = np.where(stops & (positions > seed[:, None]), positions, inside.shape[1]).min(axis=1)
    length = (right - left - 1) * FINE_MM
    return np.where(cost[rows, seed] < 10_000, length, 0.0)


FAR_LIMIT, THICKNESS_LIMITS, CLOSED_LIMIT = 0.01, (0.8, 1.5), 0.1


def failed_gates(figures: dict[str, float]) -> list[str]:
    """Why a method's H doesn't count: it makes bone far from any, plates too thick or thin, or closes true holes.

    A figure without a case fails nothing. Holes count from 1 mm on.
    """
    low, high = THICKNESS_LIMITS
    failed = {
        "far": figures["far_false_bone"] > FAR_LIMIT,
        "thick": figures["thickness_ratio"] > high,
        "thin": figures["thickness_ratio"] < low,
        "closed": figures["wide_holes_closed"] > CLOSED_LIMIT,
    }
    return [name for name, fails in failed.items() if fails]


def rates(counts: Counts) -> dict[str, float]:
    """The figures of a table row; a rate without any case is not a number."""
    continuity = _ratio(counts.rays_hit, counts.rays)
    patency = _ratio(counts.canals_open, counts.canals)
    both = continuity + patency
    return {
        "continuity": continuity,
        "patency": patency,
        "h": 0.0 if both == 0 else 2 * continuity * patency / both,
        "thin_recall": _ratio(counts.thin_found, counts.thin_points),
        "gap_recall": _ratio(counts.gap_free, counts.gap_points),
        "nsd_250um": _ratio(counts.within_250um, counts.surface_cells),
        "nsd_500um": _ratio(counts.within_500um, counts.surface_cells),
        "nsd_1mm": _ratio(counts.within_1mm, counts.surface_cells),
        "hd95_mm": _ratio(counts.hd95_mm, counts.scans),
        "assd_mm": _ratio(counts.distance_mm, counts.surface_cells),
        "thickness_ratio": _ratio(counts.run_ratio, counts.runs),
        "far_false_bone": _ratio(counts.far_bone, counts.far_cells),
        "holes_closed": _ratio(counts.holes_closed, counts.holes),
        "wide_holes_closed": _ratio(counts.wide_holes_closed, counts.wide_holes),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
