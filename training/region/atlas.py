"""The labelled skull that the region network learns from: voxelised meshes and what each of their parts is.

The meshes are BodyParts3D, (c) The Database Center for Life Science, CC BY-SA 2.1 Japan; millimetres, LPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from simulator.meshes import inside

__all__ = ["BONES", "Atlas", "load_atlas"]

BONES = (
    "frontal",
    "parietal",
    "occipital",
    "temporal",
    "sphenoid",
    "ethmoid",
    "face",
    "lacrimal",
    "mandible",
    "atlas",
    "axis",
    "hyoid",
    "neck",
)
"""Bone groups; group k has the label k + 1."""

_GROUP_OF_MESH = {
    "Frontal_bone": "frontal",
    "parietal_bone": "parietal",
    "Occipital_bone": "occipital",
    "temporal_bone": "temporal",
    "Sphenoid_bone": "sphenoid",
    "Ethmoid": "ethmoid",
    "maxilla": "face",
    "zygomatic_bone": "face",
    "nasal_bone": "face",
    "nasal_concha": "face",
    "palatine_bone": "face",
    "Vomer": "face",
    "lacrimal_bone": "lacrimal",
    "Mandible": "mandible",
    "Atlas__": "atlas",
    "Axis__": "axis",
    "Hyoid": "hyoid",
}

ORIGIN_MM = (-100.0, -215.0, 1330.0)
"""LPS position of the first voxel."""
SHAPE_XYZ = (200, 260, 325)
"""Voxels of 1 mm along x, y and z."""

SQUAMA_TOP_MM = 1533.0
"""Height of the temporal squama above which it is vault: 1 cm above the petrous ridge."""
PROTUBERANCE_TOP_MM = 1528.0
"""Height of the internal occipital protuberance."""
ORBITS_MM = tuple(
    (np.array([side * 13.0, -120.0, 1523.0]), np.array([side * 34.0, -170.0, 1522.0])) for side in (-1, 1)
)
"""Axis of each orbit, from the optic canal to the middle of the rim."""
ORBIT_RADII_MM = (5.0, 20.0)
"""Radius of the orbital cone at the two ends of its axis."""
ORBIT_REACH_MM = {"frontal": 7.0, "face": 4.0}
"""Bone of these groups so close to an orbital cone is orbital wall."""

AIR, MUSCLE, BRAIN, AIRWAY, ORBIT = range(5)
"""Classes of what is not bone."""


@dataclass(frozen=True)
class Atlas:
    """Arrays indexed (z, y, x), 1 mm, first voxel at ``ORIGIN_MM``."""

    depth: NDArray[np.float32]
    """Distance to the surface of the bone in mm, positive inside, clipped to -12..6."""
    group: NDArray[np.uint8]
    """Bone group of the nearest bone, see ``BONES``; group k has the label k + 1."""
    base: NDArray[np.uint8]
    """1 where the nearest bone is skull base, else 0."""
    tissue: NDArray[np.uint8]
    """Class of what is there when it isn't bone."""


def load_atlas(meshes: Path, cache: Path) -> Atlas:
    """Voxelise the meshes, or read what an earlier call left in ``cache``."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        labels = _voxelise(meshes)
        _add_neck(labels)
        np.savez(cache, **vars(_atlas(labels)))
    with np.load(cache) as content:
        return Atlas(**{name: content[name] for name in content.files})


def _atlas(labels: NDArray[np.uint8]) -> Atlas:
    bone = labels > 0
    inside = ndimage.distance_transform_edt(bone)
    outside, nearest = ndimage.distance_transform_edt(~bone, return_indices=True)
    depth = np.where(bone, inside - 0.5, 0.5 - outside).clip(-12, 6).astype(np.float32)
    return Atlas(
        depth=depth,
        group=labels[tuple(nearest)],
        base=_skull_base(labels).astype(np.uint8)[tuple(nearest)],
        tissue=_tissue(labels),
    )


def _coordinates() -> tuple[NDArray[np.float64], ...]:
    """x, y and z of the voxels in mm, shaped to broadcast to (z, y, x)."""
    x, y, z = (np.arange(n, dtype=np.float64) + origin for origin, n in zip(ORIGIN_MM, SHAPE_XYZ, strict=True))
    return x[None, None, :], y[None, :, None], z[:, None, None]


def _skull_base(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The voxels of the skull base: whole bones, and of the others what lies below the vault or beside an orbit."""
    x, y, z = _coordinates()

    def bone(name: str) -> NDArray[np.bool_]:
        return np.asarray(labels == BONES.index(name) + 1)

    base = bone("sphenoid") | bone("ethmoid") | bone("lacrimal")
    base |= bone("temporal") & (z < SQUAMA_TOP_MM)
    base |= bone("occipital") & (z < PROTUBERANCE_TOP_MM)
    base |= bone("frontal") & (abs(x) < 18) & (y > -168) & (z < 1546)
    orbit = _orbit_distance_mm()
    for name, reach_mm in ORBIT_REACH_MM.items():
        base |= bone(name) & (orbit < reach_mm) & (y > -170)
    return base


def _orbit_distance_mm() -> NDArray[np.float32]:
    """Distance to the nearer orbital cone, negative inside."""
    x, y, z = _coordinates()
    nearest = np.full(SHAPE_XYZ[::-1], np.inf, np.float32)
    for apex, rim in ORBITS_MM:
        axis = rim - apex
        along = ((x - apex[0]) * axis[0] + (y - apex[1]) * axis[1] + (z - apex[2]) * axis[2]) / (axis @ axis)
        t = along.clip(0, 1)
        gap = [c - (a + t * d) for c, a, d in zip((x, y, z), apex, axis, strict=True)]
        radius = ORBIT_RADII_MM[0] + (ORBIT_RADII_MM[1] - ORBIT_RADII_MM[0]) * np.sqrt(t)
        distance = np.sqrt(gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2) - radius
        nearest = np.minimum(nearest, distance.astype(np.float32))
    return nearest


def _tissue(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x, y, z = _coordinates()
    bone = labels > 0
    small = bone[::3, ::3, ::3]
    wide = np.pad(small, 14)
    closed = ndimage.binary_erosion(ndimage.distance_transform_edt(~wide) <= 11, iterations=1)
    closed = ndimage.distance_transform_edt(closed) > 10
    closed = closed[14:-14, 14:-14, 14:-14]
    skin = ndimage.distance_transform_edt(~closed) <= 2.4
    body = np.kron(skin, np.ones((3, 3, 3), bool))[: bone.shape[0], : bone.shape[1], : bone.shape[2]]
    body |= ((x / 58) ** 2 + ((y + 72) / 60) ** 2 < 1) & (z < 1478)
    shoulders = (1345 - z) / 15
    body |= ((x / (58 + 45 * shoulders.clip(0, 1))) ** 2 + ((y + 60) / 70) ** 2 < 1) & (z < 1345)
    body = ndimage.binary_fill_holes(body)
    tissue = np.where(body, MUSCLE, AIR).astype(np.uint8)
    cranial = (x / 68) ** 2 + ((y + 82) / 92) ** 2 + ((z - 1550) / 82) ** 2 < 1
    tissue[cranial & (z > 1480)] = BRAIN
    tissue[_orbit_distance_mm() < 0] = ORBIT
    nose = (abs(x) < 17) & (y > -172) & (y < -118) & (z > 1470) & (z < 1530)
    antrum = ((abs(x) - 32) / 15) ** 2 + ((y + 150) / 17) ** 2 + ((z - 1487) / 16) ** 2 < 1
    sphenoid_sinus = (x / 14) ** 2 + ((y + 112) / 11) ** 2 + ((z - 1512) / 9) ** 2 < 1
    frontal_sinus = (x / 25) ** 2 + ((y + 170) / 10) ** 2 + ((z - 1552) / 22) ** 2 < 1
    throat = ((x / 10) ** 2 + ((y + 106) / 7) ** 2 < 1) & (z < 1495) & (z > 1440)
    trachea = ((x / 9) ** 2 + ((y + 103) / 9) ** 2 < 1) & (z <= 1440)
    tissue[nose | antrum | sphenoid_sinus | frontal_sinus | throat | trachea] = AIRWAY
    return tissue


def _add_neck(labels: NDArray[np.uint8]) -> None:
    """Add what the meshes end above: vertebrae C3 to T2, clavicles, first ribs and laryngeal cartilage."""
    x, y, z = _coordinates()
    neck = np.zeros(labels.shape, bool)
    for index in range(7):
        height = 1425.0 - 16.5 * index
        back = -77.0 + 1.2 * index + 0.35 * index**2
        slab = abs(z - height) < 6.8
        neck |= slab & ((x / (10 + index / 2)) ** 2 + ((y - back) / 8.5) ** 2 < 1)
        ring = ((x / 19) ** 2 + ((y - back - 14) / 13) ** 2 < 1) & ((x / 13) ** 2 + ((y - back - 13) / 9) ** 2 > 1)
        neck |= ring & (abs(z - height + 3) < 4.5)
        neck |= (abs(abs(x) - 19) < 6) & (abs(y - back - 8) < 6) & (abs(z - height) < 7.5)
        neck |= (abs(x) < 3.5) & (y > back + 22) & (y < back + 36 + 2 * index) & (abs(z - height + 7) < 4)
    bar = ((y + 105 - 0.25 * abs(x)) ** 2 + (z - 1340 - 0.12 * abs(x)) ** 2 < 36) & (abs(x) > 12)
    rib = abs(np.hypot(x / 62, (y + 62) / 48) - 1) < 0.09
    neck |= bar | (rib & (abs(z - 1335 + 0.2 * (y + 62)) < 4))
    larynx = abs(np.hypot(x / 17, (y + 105) / 17) - 1) < 0.1
    neck |= larynx & (y < -100) & (z > 1385) & (z < 1408)
    labels[neck & (labels == 0)] = BONES.index("neck") + 1


def _voxelise(meshes: Path) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE_XYZ[::-1], np.uint8)
    for path in sorted(meshes.glob("*.obj")):
        group = next((g for key, g in _GROUP_OF_MESH.items() if key in path.name), None)
        if group is not None:
            labels[inside(path, ORIGIN_MM, 1.0, SHAPE_XYZ)] = BONES.index(group) + 1
    return labels
