"""The frame of a skull, found on the bone itself: its mid-plane and the line from basion to opisthion.

In this frame the openings of skulls lie within a few millimetres of each other, which the places of the region network
do not: they only say where to begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.inference.region import RegionMap

__all__ = ["SkullFrame", "circle", "find_frame", "probe"]

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST_SYMMETRY = 0.6
"""The mirrored bone must cover this share of the bone."""
LEAST_STRETCH = 0.2
"""The places change by at least so many mm per mm in every direction; otherwise they are no places of a head."""
COARSE_CELLS = 4
"""The mid-plane is sought on cells this many times as large."""
SMOOTHED = (3.0, 1.5, 0.8)
"""Blur of the coarse bone, in its cells, from the first search to the last."""
MIRRORED_CELLS = 15_000
YAW_ROLL, OFFSET_MM = 0.15, 6.0
"""The first search begins at these slopes and offsets too."""
RAYS = 48
RADII_MM = np.arange(3.0, 36.0, 0.8)
BACK_MM, UP_MM, PITCH_DEGREES = (-30.0, 60.0), (-90.0, -15.0), (-40.0, 40.0)
"""Where the foramen magnum is sought, from the middle of the atlas' head, and how it may lean."""
FINER = (1.0, 0.5)
"""Steps of the two searches about the best five planes, mm."""
RIM_MM = (12.0, 22.0)
"""Mean distance of its rim from its middle; it is some 35 mm long and 30 mm wide."""
COVERED = 0.9
"""This share of the rays must meet the rim."""
THROUGH_MM, COLUMN_MM = 26.0, 14.0
"""Its axis must be free of bone so far on both sides, and a column of 4 mm about it so far."""
SAGITTAL_MM = (-1.2, -0.6, 0.0, 0.6, 1.2)
"""The section through the mid-plane is what most of these planes show."""
SECTION_MM = 70.0
LEAST_PIECE_MM2 = 30.0
CLIVUS_MM = 15.0
"""The clivus reaches at least so far above the plane of the foramen; the dens of the axis doesn't."""
LENGTH_MM = (25.0, 45.0)
"""From basion to opisthion."""


@dataclass(frozen=True, slots=True)
class SkullFrame:
    """Origin at the basion; rows of ``axes`` are unit vectors to the patient's left, to the opisthion, and up (LPS)."""

    origin_mm: Points
    axes: Points
    length_mm: float
    """From basion to opisthion."""

    def to_patient(self, points_mm: Points) -> Points:
        """Map points (..., 3), mm to the left, back and up from the basion, to patient mm."""
        mapped: Points = self.origin_mm + points_mm @ self.axes
        return mapped


class _Start(NamedTuple):
    """A rough frame: a point, and unit vectors to the left, back and up."""

    origin_mm: Points
    axes: Points


def find_frame(bone: Bone, region: RegionMap) -> SkullFrame | None:
    """Return the frame of the skull; None where the bone has no mid-plane or shows no whole foramen magnum."""
    start = _from_places(region)
    if start is None:
        return None
    plane, symmetry = _mid_plane(bone, start)
    if symmetry < LEAST_SYMMETRY:
        return None
    middle_mm = _magnum(*_halved(bone), plane)
    return None if middle_mm is None else _from_section(bone, _Start(middle_mm, plane.axes))


def _from_places(region: RegionMap) -> _Start | None:
    """A rough frame by the places of the region network, an affine fit by least squares; None where they don't fit."""
    cells = np.argwhere(region.inside > 0.5)
    patient = region.grid.to_patient(cells.astype(np.float64))
    place = region.place_mm[(slice(None), *cells.T)].T.astype(np.float64)
    solution = np.linalg.lstsq(np.column_stack([patient, np.ones(len(patient))]), place, rcond=None)[0]
    if np.linalg.svd(solution[:3], compute_uv=False).min() < LEAST_STRETCH:
        return None
    inverse = np.linalg.inv(solution[:3])
    rows = inverse / np.linalg.norm(inverse, axis=1, keepdims=True)
    u, _, v = np.linalg.svd(rows)
    axes = np.asarray(u @ v, np.float64)
    if axes[0, 0] <= 0:  # a left that points to the patient's right is a mistake of the network
        return None
    return _Start(-solution[3] @ inverse, axes)


def _mid_plane(bone: Bone, start: _Start) -> tuple[_Start, float]:
    """The plane about which the bone mirrors best: ``start`` turned and shifted, and the share that mirrors."""
    coarse, grid = _coarse(bone)
    cells = np.argwhere(coarse > 0.1)
    if not len(cells):
        return start, 0.0
    chosen = np.random.default_rng(0).permutation(len(cells))[:MIRRORED_CELLS]
    points = grid.to_patient(cells[chosen].astype(np.float64))

    def normal(x: Points) -> Points:
        turned = start.axes[0] + x[0] * start.axes[1] + x[1] * start.axes[2]
        return np.asarray(turned / np.linalg.norm(turned))

    best = np.zeros(3)
    symmetry = 0.0
    for blur in SMOOTHED:
        smooth = ndimage.gaussian_filter(coarse, blur)
        here = ndimage.map_coordinates(smooth, grid.to_index(points).T, order=1)

        def unlike(x: Points, smooth: NDArray[np.float32] = smooth, here: NDArray[np.float32] = here) -> float:
            n = normal(x)
            mirrored = points - 2 * ((points - start.origin_mm) @ n - x[2])[:, None] * n
            there = ndimage.map_coordinates(smooth, grid.to_index(mirrored).T, order=1)
            return 1 - float(np.minimum(here, there).mean() / here.mean())

        first = blur == SMOOTHED[0]
        slopes = (-YAW_ROLL, 0.0, YAW_ROLL) if first else (0.0,)
        offsets = (-OFFSET_MM, 0.0, OFFSET_MM) if first else (0.0,)
        size = np.diag([0.06, 0.06, 3.0]) * (1.0 if first else 0.4)
        found = [
            optimize.minimize(
                unlike,
                begin,
                method="Nelder-Mead",
                options={"initial_simplex": begin + np.vstack([np.zeros(3), size]), "maxiter": 120, "xatol": 2e-3},
            )
            for begin in (best + np.array([0.0, slope, offset]) for slope in slopes for offset in offsets)
        ]
        chosen_one = min(found, key=lambda result: float(result.fun))
        best, symmetry = np.asarray(chosen_one.x), 1 - float(chosen_one.fun)
    left = normal(best)
    up = start.axes[2] - (start.axes[2] @ left) * left
    up /= np.linalg.norm(up)
    back = np.cross(up, left)
    return _Start(start.origin_mm + best[2] * left, np.stack([left, back, up])), symmetry


def _coarse(bone: Bone) -> tuple[NDArray[np.float32], Grid]:
    """The share of bone in cells ``COARSE_CELLS`` times as large."""
    n = COARSE_CELLS
    size = [length // n for length in bone.grid.shape]
    mask = bone.level[: size[0] * n, : size[1] * n, : size[2] * n] > 0
    share = mask.reshape(size[0], n, size[1], n, size[2], n).mean(axis=(1, 3, 5), dtype=np.float32)
    return share, _enlarged(bone.grid, n, share.shape)


def _halved(bone: Bone) -> tuple[Mask, Grid]:
    """Whether there is bone in cells twice as large: nothing thin is lost."""
    size = [length // 2 for length in bone.grid.shape]
    mask = bone.level[: size[0] * 2, : size[1] * 2, : size[2] * 2] > 0
    some = np.asarray(mask.reshape(size[0], 2, size[1], 2, size[2], 2).any(axis=(1, 3, 5)))
    return some, _enlarged(bone.grid, 2, some.shape)


def _enlarged(grid: Grid, times: int, shape: tuple[int, ...]) -> Grid:
    return Grid(
        origin_mm=grid.to_patient(np.full(3, (times - 1) / 2)),
        axes=grid.axes,
        spacing_mm=times * grid.spacing_mm,
        shape=(shape[0], shape[1], shape[2]),
    )


def probe(mask: Mask, grid: Grid, points_mm: Points) -> Mask:
    """Whether the cells at patient points (..., 3) are set; False beyond the grid."""
    index = np.rint(grid.to_index(points_mm)).astype(np.int32)
    within = np.all((index >= 0) & (index < np.array(grid.shape)), axis=-1)
    index = np.clip(index, 0, np.array(grid.shape) - 1)
    found: Mask = mask[index[..., 0], index[..., 1], index[..., 2]] & within
    return found


def circle(across: Points, along: Points, count: int) -> Points:
    """Unit vectors at ``count`` even angles in planes spanned by ``across`` and ``along`` (..., 3): (..., count, 3)."""
    angle = np.arange(count) * (2 * np.pi / count)
    return np.asarray(
        np.cos(angle)[:, None] * across[..., None, :] + np.sin(angle)[:, None] * along[..., None, :], np.float64
    )


def _magnum(mask: Mask, grid: Grid, plane: _Start) -> Points | None:
    """The middle of the foramen magnum: the tightest ring of bone about the mid-plane with a free way through it."""
    ranges = ((*BACK_MM, 3.0), (*UP_MM, 3.0), (*PITCH_DEGREES, 10.0))
    planes = np.stack(np.meshgrid(*(np.arange(low, high, step) for low, high, step in ranges), indexing="ij"), -1)
    candidates = planes.reshape(-1, 3)
    for step_mm in (*FINER, 0.0):
        scores = np.concatenate([_ring_score(mask, grid, plane, part) for part in np.array_split(candidates, 8)])
        ranked = np.argsort(scores)
        if not step_mm:
            break
        steps = np.arange(-2, 3) * step_mm
        around = np.stack(np.meshgrid(steps, steps, 4 * steps, indexing="ij"), -1).reshape(-1, 3)
        candidates = (candidates[ranked[:5], None] + around).reshape(-1, 3)
    back, up, _ = candidates[ranked[0]]
    return None if not np.isfinite(scores[ranked[0]]) else plane.origin_mm + back * plane.axes[1] + up * plane.axes[2]


def _ring_score(mask: Mask, grid: Grid, plane: _Start, candidates: Points) -> Points:
    """How large and how uneven the ring about each candidate (back, up, pitch in degrees) is, mm; infinite: no ring."""
    left, back, up = plane.axes
    pitch = np.radians(candidates[:, 2])[:, None]
    middle = plane.origin_mm + candidates[:, :1] * back + candidates[:, 1:2] * up
    along = np.cos(pitch) * back + np.sin(pitch) * up
    axis = np.cross(np.broadcast_to(left, along.shape), along)
    way = np.arange(-THROUGH_MM, THROUGH_MM + 1, 2.0)
    free = ~probe(mask, grid, middle[:, None] + way[:, None] * axis[:, None]).any(axis=1)
    scores = np.full(len(candidates), np.inf)
    kept = np.flatnonzero(free)
    middle, along, axis = middle[kept], along[kept], axis[kept]
    column = np.arange(-COLUMN_MM, COLUMN_MM + 1, 2.0)
    beside = circle(np.broadcast_to(left, along.shape), along, 4) * 4.0
    blocked = probe(mask, grid, middle[:, None, None] + beside[:, :, None] + column[:, None] * axis[:, None, None])
    rays = circle(np.broadcast_to(left, along.shape), along, RAYS)
    met = probe(mask, grid, middle[:, None, None] + RADII_MM[:, None] * rays[:, :, None])
    distance = np.where(met.any(axis=-1), RADII_MM[met.argmax(axis=-1)], RADII_MM[-1])
    opposite = np.roll(distance, RAYS // 2, axis=1)
    mean = distance.mean(axis=1)
    ring = (
        (met.any(axis=-1).mean(axis=1) >= COVERED)
        & (mean >= RIM_MM[0])
        & (mean <= RIM_MM[1])
        & (blocked.mean(axis=(1, 2)) < 0.05)
    )
    scores[kept] = np.where(ring, mean + 2 * np.abs(distance - opposite).mean(axis=1), np.inf)
    return scores


def _from_section(bone: Bone, start: _Start) -> SkullFrame | None:
    """The frame by the section through the mid-plane: opisthion, and the basion nearest to it on the clivus."""
    left, back, up = start.axes
    reach = np.arange(-SECTION_MM, SECTION_MM, bone.grid.spacing_mm)
    flat = start.origin_mm + reach[None, :, None] * back + reach[:, None, None] * up
    shown = sum(probe(bone.level > 0, bone.grid, flat + x * left).astype(int) for x in SAGITTAL_MM)
    labels, count = ndimage.label(np.asarray(shown) >= 2, np.ones((3, 3)))
    pieces = []
    for k in range(1, count + 1):
        rows, columns = np.nonzero(labels == k)
        if len(rows) * bone.grid.spacing_mm**2 >= LEAST_PIECE_MM2:
            pieces.append(np.stack([reach[columns], reach[rows]], axis=1))  # back, up
    nearest = [piece[np.hypot(*piece.T).argmin()] for piece in pieces]
    behind = [k for k, point in enumerate(nearest) if point[0] > 0]
    if not behind:
        return None
    last = min(behind, key=lambda k: float(np.hypot(*nearest[k])))
    opisthion = nearest[last]
    fronts = [
        piece[np.hypot(*(piece - opisthion).T).argmin()]
        for k, piece in enumerate(pieces)
        if k != last and piece[:, 1].max() > CLIVUS_MM
    ]
    fronts = [point for point in fronts if point[0] < 0]
    if not fronts:
        return None
    basion = min(fronts, key=lambda point: float(np.hypot(*(point - opisthion))))
    line = opisthion - basion
    length = float(np.hypot(*line))
    if not LENGTH_MM[0] <= length <= LENGTH_MM[1]:
        return None
    towards = (line[0] * back + line[1] * up) / length
    origin = start.origin_mm + basion[0] * back + basion[1] * up
    return SkullFrame(origin, np.stack([left, towards, np.cross(left, towards)]), length)
