"""The printable surface: the iso-surface of the fine field, closed and decimated within a bound."""

from __future__ import annotations

from dataclasses import dataclass

import manifold3d
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from sbnode.errors import NoSkullBase
from sbnode.inference.bone import Bone
from sbnode.results.decimation import decimate

__all__ = ["SMALLEST_PART_MM3", "Surface", "extract"]

SMALLEST_PART_MM3 = 3.0
"""Separate specks and closed bubbles smaller than this are left out: noise, and nothing that prints. mm3."""
_NEAREST_LEVEL = 1e-3
"""No sample lies nearer to the iso-value than this, so that no triangle degenerates; 0.4 um at a level step of 1."""
_PART_MM = 0.002
"""How far coincident vertices are moved apart, mm: far above the 0.00003 mm steps of float32, far below the bound."""
_PART_ROUNDS = 4
_OUTSIDE_LEVEL = -0.5
"""Level around the grid, which closes the surface where bone is cut off by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A closed triangle mesh in LPS patient mm, normals outward by the right-hand rule.

    ``vertices_mm`` is float32 (n, 3), ``triangles`` int32 (m, 3).
    """

    vertices_mm: NDArray[np.float32]
    triangles: NDArray[np.int32]

    @property
    def volume_ml(self) -> float:
        """Enclosed volume in mL."""
        return float(_signed_volumes(self.vertices_mm, self.triangles).sum()) / 1000


def extract(bone: Bone, most_triangles: int) -> Surface:
    """Return the surface of all bone, inferred bone included, at the level 0.

    Marching cubes with Lewiner's topological guarantee (Journal of Graphics Tools 8, 2003) give a closed manifold. It
    is decimated to ``most_triangles``, and Manifold takes away the folds which that leaves. Parts under
    ``SMALLEST_PART_MM3`` are left out.

    Raises:
        NoSkullBase: no part of the bone is that large.
    """
    vertices, triangles = _iso_surface(bone)
    vertices, triangles = _without_specks(
        *_decimated(vertices * np.float32(bone.grid.spacing_mm), triangles, most_triangles)
    )
    if not len(triangles):
        raise NoSkullBase(f"no piece of bone is larger than {SMALLEST_PART_MM3} mm3")
    vertices_mm = bone.grid.to_patient(vertices.astype(np.float64) / bone.grid.spacing_mm)
    if np.linalg.det(bone.grid.axes) < 0:
        # (normal, column, row direction) is left-handed, which turns the triangles inside out.
        triangles = triangles[:, ::-1]
    triangles = np.ascontiguousarray(triangles, np.int32)
    return Surface(_parted(vertices_mm.astype(np.float32), triangles), triangles)


def _iso_surface(bone: Bone) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return vertices in cells of the grid and outward triangles, with (slice, row, column) axes."""
    mask = bone.level > 0
    box = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        found = np.flatnonzero(mask.any(axis=axes))
        if not found.size:
            raise NoSkullBase("the volume holds no bone of the wanted region")
        box.append(slice(max(int(found[0]) - 1, 0), int(found[-1]) + 2))
    field = np.pad(bone.level[tuple(box)], 1, constant_values=_OUTSIDE_LEVEL)
    near = np.abs(field) < _NEAREST_LEVEL
    field[near] = np.where(field[near] > 0, _NEAREST_LEVEL, -_NEAREST_LEVEL)
    vertices, triangles, _, _ = marching_cubes(field, 0.0, method="lewiner", gradient_direction="ascent")
    corner = np.array([span.start - 1 for span in box], np.float32)
    return vertices.astype(np.float32) + corner, triangles.astype(np.int32)


def _without_specks(
    vertices: NDArray[np.float32], triangles: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Leave out connected parts of the mesh whose volume is small; bubbles have a negative one."""
    count = len(vertices)
    ends = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    edges = sparse.coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(count, count))
    parts, part_of_vertex = connected_components(edges, directed=False)
    part_of_triangle = part_of_vertex[triangles[:, 0]]
    volumes = np.bincount(part_of_triangle, _signed_volumes(vertices, triangles), parts)
    kept = triangles[(np.abs(volumes) >= SMALLEST_PART_MM3)[part_of_triangle]]
    used = np.zeros(count, bool)
    used[kept] = True
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    return vertices[used], renumbered[kept]


def _decimated(
    vertices: NDArray[np.float32], triangles: NDArray[np.int32], most: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The closed mesh with fewer triangles; whole if decimation opened it."""
    if len(triangles) > most:
        fewer = _closed(*decimate(vertices, triangles, most))
        if fewer is not None:
            return fewer
    whole = _closed(vertices, triangles)
    if whole is None:
        raise RuntimeError("the iso-surface is not a closed manifold")
    return whole


def _closed(
    vertices: NDArray[np.float32], triangles: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
    """The mesh without folds; None if it isn't a closed manifold."""
    solid = manifold3d.Manifold(
        manifold3d.Mesh(
            vert_properties=np.ascontiguousarray(vertices, np.float32),
            tri_verts=np.ascontiguousarray(triangles, np.uint32),
        )
    )
    if solid.status() != manifold3d.Error.NoError:
        return None
    mesh = solid.to_mesh()
    return np.asarray(mesh.vert_properties[:, :3], np.float32), np.asarray(mesh.tri_verts).astype(np.int32)


def _parted(vertices_mm: NDArray[np.float32], triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """Move vertices that share a place apart, each by ``_PART_MM`` towards its own neighbours.

    Where the surface touches itself a manifold mesh has several vertices at one place. STL knows no vertices,
    only places, so that a reader would join them and find an edge with four triangles.
    """
    moved = vertices_mm.copy()
    for _ in range(_PART_ROUNDS):
        _, place, count = np.unique(moved, axis=0, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(count[place.ravel()] > 1)
        if not shared.size:
            break
        is_shared = np.zeros(len(moved), bool)
        is_shared[shared] = True
        sums, numbers = np.zeros((len(moved), 3)), np.zeros(len(moved))
        near = triangles[is_shared[triangles].any(axis=1)]
        for corner in range(3):
            for other in ((corner + 1) % 3, (corner + 2) % 3):
                np.add.at(sums, near[:, corner], moved[near[:, other]] - moved[near[:, corner]])
                np.add.at(numbers, near[:, corner], 1)
        inward = sums[shared] / np.maximum(numbers[shared], 1)[:, None]
        length = np.linalg.norm(inward, axis=1, keepdims=True)
        moved[shared] += (_PART_MM * inward / np.maximum(length, 1e-9)).astype(np.float32)
    return moved


def _signed_volumes(vertices: NDArray[np.float32], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """Volume of the tetrahedron that each triangle spans with the first vertex; they add up to the enclosed one."""
    a, b, c = (vertices[triangles[:, i]].astype(np.float64) - vertices[0] for i in range(3))
    volumes: NDArray[np.float64] = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
    return volumes
