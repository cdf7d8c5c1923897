"""How far a surface lies from the bone's edge in the CT itself.

The CT's edge near a vertex is where the HU along a line about its normal pass the middle between the local bone
inside and the local tissue outside: the local half-maximum, which needs no fixed threshold. Nothing here uses
sbnode: the slices are read with pydicom, and the mesh is the STL as the archive holds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import trimesh
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Array = NDArray[np.float64]

REACH_MM = 2.5
"""How far along the normal the edge is looked for, either way: five cortical plates of the orbital roof."""
STEP_MM = 0.05
NOISE_HU = 50.0
"""A wave of the profile that is lower than this is not a maximum or minimum of its own."""
CONTRAST_HU = 150.0
"""Inside and outside must differ by this much. Where they do not, the CT shows no edge: on the faces where
the region ends inside bone, and on bone too thin for the scan."""


@dataclass(frozen=True)
class CtSlices:
    """Untilted CT slices, sorted along their normal: HU (slice, row, column) and the geometry."""

    hu: Array
    origin_mm: Array
    axes: Array
    """Rows: the unit directions of growing slice, row and column index, LPS."""
    spacing_mm: Array

    @classmethod
    def read(cls, folder: Path) -> CtSlices:
        slices = [pydicom.dcmread(path) for path in folder.iterdir()]
        along_row, along_column = np.asarray(slices[0].ImageOrientationPatient, float).reshape(2, 3)
        normal = np.cross(along_row, along_column)
        slices.sort(key=lambda one: float(np.dot(one.ImagePositionPatient, normal)))
        origins = np.array([one.ImagePositionPatient for one in slices], float)
        steps = np.diff(origins, axis=0)
        assert np.allclose(steps, steps[0], atol=0.01), "the slices are uneven"
        assert np.allclose(np.cross(steps[0], normal), 0, atol=0.01), "the slices are tilted"
        return cls(
            hu=np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices]),
            origin_mm=origins[0],
            axes=np.stack([normal, along_column, along_row]),
            spacing_mm=np.array([np.linalg.norm(steps[0]), *slices[0].PixelSpacing], float),
        )

    def sample(self, points_mm: Array) -> Array:
        """HU at LPS points, shape (..., 3), trilinear; the nearest voxel's beyond the scan."""
        indices = (points_mm - self.origin_mm) @ self.axes.T / self.spacing_mm
        sampled: Array = map_coordinates(self.hu, np.moveaxis(indices, -1, 0), order=1, mode="nearest")
        return sampled

    def in_voxels(self, offsets_mm: Array) -> Array:
        """Length of offsets, shape (n, 3), counted in voxels along each axis of the scan."""
        length: Array = np.linalg.norm(offsets_mm @ self.axes.T / self.spacing_mm, axis=-1)
        return length


@dataclass(frozen=True)
class EdgeDistance:
    """Distances of the vertices that have an edge in the CT, and the share of all vertices that have one."""

    voxels: Array
    signed_mm: Array
    """Positive: the CT's edge lies outside the surface."""
    share: float


def edge_distance(mesh: trimesh.Trimesh, ct: CtSlices, vertices: int = 1_500, seed: int = 1) -> EdgeDistance:
    """Distance from ``vertices`` vertices drawn at random to the CT's edge; normals point outwards, LPS mm.

    The nearest edge is looked for along the normal and along directions up to 39 degrees off it.
    """
    chosen = np.random.default_rng(seed).choice(len(mesh.vertices), min(vertices, len(mesh.vertices)), False)
    points, normals = np.asarray(mesh.vertices)[chosen], np.asarray(mesh.vertex_normals)[chosen]
    along_mm = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
    voxels, signed_mm = np.full(len(points), np.inf), np.full(len(points), np.nan)
    for directions in _around(normals):
        hu = ct.sample(points[:, None, :] + along_mm[None, :, None] * directions[:, None, :])
        crossing_mm = np.array([_half_maximum_mm(profile, along_mm) for profile in hu])
        found = ct.in_voxels(crossing_mm[:, None] * directions)
        nearer = found < voxels
        voxels[nearer], signed_mm[nearer] = found[nearer], crossing_mm[nearer]
    seen = np.isfinite(voxels)
    return EdgeDistance(voxels[seen], signed_mm[seen], float(seen.mean()))


def _around(normals: Array) -> Iterator[Array]:
    """The unit normals themselves, then two rings of six unit directions about each."""
    yield normals
    first = np.cross(normals, np.eye(3)[np.argmin(np.abs(normals), axis=1)])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    for slope in (0.4, 0.8):
        for turn in np.arange(6) * np.pi / 3:
            tilted = normals + slope * (np.cos(turn) * first + np.sin(turn) * second)
            yield tilted / np.linalg.norm(tilted, axis=1, keepdims=True)


def _half_maximum_mm(profile: Array, along_mm: Array) -> float:
    """Where a profile, from inside to outside, falls through a half-maximum nearest to 0; NaN without one.

    Each fall from a local maximum to the next minimum by CONTRAST_HU is an edge with a middle of its own.
    """
    turns = _turning_points(profile)
    crossings_mm = [
        along_mm[index] + (profile[index] - level) / (profile[index] - profile[index + 1]) * STEP_MM
        for peak, foot in pairwise(turns)
        if profile[peak] - profile[foot] >= CONTRAST_HU
        for level in [(profile[peak] + profile[foot]) / 2]
        for index in range(peak, foot)
        if profile[index] >= level > profile[index + 1]
    ]
    return float(min(crossings_mm, key=abs, default=np.nan))


def _turning_points(profile: Array) -> list[int]:
    """Indices of the profile's local maxima and minima in turn, ends included; small waves are noise."""
    turns, best, rising = [0], 0, None
    for index in range(1, len(profile)):
        step = profile[index] - profile[best]
        if rising is None:
            if abs(step) >= NOISE_HU:
                rising, best = step > 0, index
        elif (step > 0) == rising:
            best = index
        elif abs(step) >= NOISE_HU:
            turns.append(best)
            rising, best = not rising, index
    return [*turns, best]
