"""How much thin bone and how many canals of the simulated head a segmentation keeps.

Scored on the source slices, where a fixed threshold lives too, against the exact truth of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from sbnode.inference.geometry import SliceStack
from simulator.anatomy import Canal, Plate

__all__ = ["FIXED_HU", "Score", "read_segments", "score"]

Mask = NDArray[np.bool_]

FIXED_HU = (150, 226, 300, 500)
"""Thresholds in common use; 226 HU is the usual preset for bone."""
RAY_STEP_MM = 1.0
"""Distance between the rays through a plate."""
TOLERANCE_MM = 0.5
"""A ray meets the plate when there is bone this close to its middle."""
PROBE_MM = 0.2
"""Step of the fine grid on which a canal is followed."""


@dataclass(frozen=True)
class Score:
    """Shares 0..1: of the rays through thin plates that meet bone, and of the canals that are open end to end."""

    plates_kept: float
    canals_open: float
    canals: int


def read_segments(segmentation: Dataset, stack: SliceStack) -> Mask:
    """Put all segments of a binary Segmentation together on the slices that it was made from."""
    mask = np.zeros(stack.shape, bool)
    frames = segmentation.pixel_array
    frames = frames[None] if frames.ndim == 2 else frames
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float) @ stack.normal
        mask[int(np.argmin(abs(stack.positions_mm - position)))] |= frame > 0
    return mask


def score(bone: Mask, stack: SliceStack, plates: tuple[Plate, ...], canals: tuple[Canal, ...]) -> Score:
    """Score ``bone``, shape ``stack.shape``, against the truth of the head."""
    met = np.concatenate([_rays_met(bone, stack, plate) for plate in plates])
    opened = [_is_open(bone, stack, canal) for canal in canals]
    return Score(plates_kept=float(met.mean()), canals_open=float(np.mean(opened)), canals=len(canals))


def _rays_met(bone: Mask, stack: SliceStack, plate: Plate) -> Mask:
    """Whether each ray across ``plate`` meets bone near the plate."""
    others = [axis for axis in range(3) if axis != plate.axis]
    lines = [np.arange(-half, half + 1e-6, RAY_STEP_MM) for half in plate.half_mm]
    depth = np.arange(-TOLERANCE_MM, TOLERANCE_MM + 1e-6, PROBE_MM / 2)
    a, b, d = np.meshgrid(*lines, depth, indexing="ij")
    points = np.empty((*a.shape, 3))
    points[..., others[0]], points[..., others[1]], points[..., plate.axis] = a, b, d
    return _at(bone, stack, points + np.array(plate.centre_mm)).any(axis=-1).ravel()


def _is_open(bone: Mask, stack: SliceStack, canal: Canal) -> bool:
    """Whether a connected way that is free of bone runs through the canal's own lumen from end to end."""
    path = np.array(canal.path_mm)
    low, high = path.min(axis=0) - canal.radius_mm, path.max(axis=0) + canal.radius_mm
    grid = [np.arange(a, b + PROBE_MM, PROBE_MM) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)
    away = np.min([_distance(points, a, b) for a, b in pairwise(path)], axis=0)
    free = (away <= canal.radius_mm) & ~_at(bone, stack, points)
    ways, _ = ndimage.label(free)
    ends = [
        set(np.unique(ways[np.linalg.norm(points - end, axis=-1) <= canal.radius_mm])) - {0}
        for end in (path[0], path[-1])
    ]
    return bool(ends[0] & ends[1])


def _distance(points: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points to a line segment."""
    axis = b - a
    t = np.clip((points - a) @ axis / (axis @ axis), 0, 1)
    gaps: NDArray[np.float64] = np.linalg.norm(points - a - t[..., None] * axis, axis=-1)
    return gaps


def _at(bone: Mask, stack: SliceStack, points_mm: NDArray[np.float64]) -> Mask:
    """Whether the voxel nearest to each point is bone; points beyond the slices count as the outermost voxels."""
    slices = np.interp(points_mm @ stack.normal, stack.positions_mm, np.arange(len(stack.positions_mm)))
    nearest = np.rint(slices).astype(int)
    offset = points_mm - stack.origins_mm[nearest]
    rows = np.rint(offset @ stack.column_direction / stack.row_spacing_mm).astype(int)
    columns = np.rint(offset @ stack.row_direction / stack.column_spacing_mm).astype(int)
    return np.asarray(bone[nearest, rows.clip(0, stack.rows - 1), columns.clip(0, stack.columns - 1)], dtype=np.bool_)
