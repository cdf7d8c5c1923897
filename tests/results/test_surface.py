from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import trimesh
from scipy import ndimage

from sbnode.errors import NoSkullBase
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.results import stl, surface
from tests.results.phantom import BALL_MM, BALL_RADIUS_MM, Scan

MOST = 600_000
AXES = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])


def bone_of(level: np.ndarray, spacing_mm: float = 0.4) -> Bone:
    grid = Grid(origin_mm=np.array([-3.0, 5.0, 7.0]), axes=AXES, spacing_mm=spacing_mm, shape=level.shape)
    return Bone(
        grid=grid,
        level=level.astype(np.float32),
        inferred=np.zeros(level.shape, bool),
        canal=np.zeros(level.shape, bool),
        plate=np.zeros(level.shape, bool),
    )


def read_stl(content: bytes) -> trimesh.Trimesh:
    return trimesh.load(BytesIO(content), file_type="stl")


@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_the_surface_lies_on_the_bone(case: str, request: pytest.FixtureRequest) -> None:
    scan: Scan = request.getfixturevalue(case)
    mesh = read_stl(stl.to_bytes(surface.extract(scan.bone, MOST)))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    ball = max(mesh.split(only_watertight=False), key=lambda part: part.volume)
    # Outward orientation gives a positive volume.
    assert ball.volume == pytest.approx(4 / 3 * np.pi * BALL_RADIUS_MM**3, rel=0.02)
    radii = np.linalg.norm(ball.triangles_center - BALL_MM, axis=1)
    assert np.abs(radii - BALL_RADIUS_MM).max() < 0.08
    assert ball.centroid == pytest.approx(BALL_MM, abs=0.03)


def noisy_bone() -> Bone:
    noise = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(40, 44, 48)), 2.0)
    return bone_of(np.clip(noise / noise.std() / 4, -0.5, 0.5))


def off_the_surface_mm(bone: Bone, points_mm: np.ndarray) -> np.ndarray:
    """The level at the points, divided by its slope, is their distance from the iso-surface."""
    index = bone.grid.to_index(points_mm.astype(np.float64))
    inside = ((index > 2) & (index < np.array(bone.grid.shape) - 3)).all(axis=1)
    level = ndimage.map_coordinates(bone.level, index[inside].T, order=1)
    slope = np.sqrt(sum(ndimage.map_coordinates(g, index[inside].T, order=1) ** 2 for g in np.gradient(bone.level)))
    return np.abs(level) / np.maximum(slope, 1e-3) * bone.grid.spacing_mm


def test_decimation_keeps_the_surface_closed_and_in_place() -> None:
    bone = noisy_bone()
    whole = len(surface.extract(bone, MOST).triangles)
    most = whole * 16 // 100  # of the nearly 4 million triangles of a head, as many are kept
    mesh = surface.extract(bone, most)
    assert len(mesh.triangles) <= most
    assert read_stl(stl.to_bytes(mesh)).is_watertight
    distance_mm = off_the_surface_mm(bone, mesh.vertices_mm)
    assert np.median(distance_mm) < 0.03
    assert np.quantile(distance_mm, 0.99) < 0.12


def test_what_decimation_would_open_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    bone = noisy_bone()
    whole = surface.extract(bone, MOST)
    monkeypatch.setattr("sbnode.results.surface.decimate", lambda points, faces, most: (points, faces[1:]))
    assert len(surface.extract(bone, 100).triangles) == len(whole.triangles)


def test_bone_cut_off_by_the_grid_is_closed() -> None:
    mesh = surface.extract(bone_of(np.full((12, 10, 9), 0.5)), MOST)
    shape = read_stl(stl.to_bytes(mesh))
    assert shape.is_watertight
    assert shape.volume == pytest.approx(12 * 10 * 9 * 0.4**3, rel=0.15)
    assert mesh.volume_ml * 1000 == pytest.approx(shape.volume, rel=1e-3)


def test_specks_and_bubbles_are_left_out() -> None:
    level = np.full((30, 30, 30), -0.5)
    level[5:25, 5:25, 5:25] = 0.5
    level[14:16, 14:16, 14:16] = -0.5
    level[1:3, 1:3, 1:3] = 0.5
    shape = read_stl(stl.to_bytes(surface.extract(bone_of(level), MOST)))
    assert shape.body_count == 1
    assert shape.volume == pytest.approx((20 * 0.4) ** 3, rel=0.01)


def test_a_surface_that_touches_itself_stays_watertight_in_stl() -> None:
    """Cubes that meet at an edge only: STL joins vertices by place and would find an edge of four triangles."""
    level = np.full((24, 24, 24), -0.5)
    level[2:12, 2:12, 2:22] = 0.5
    level[12:22, 12:22, 2:22] = 0.5
    assert read_stl(stl.to_bytes(surface.extract(bone_of(level), MOST))).is_watertight


def test_vertices_at_one_place_are_moved_apart() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 0], [0, -1, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    moved = surface._parted(vertices, triangles)
    assert len(np.unique(moved, axis=0)) == 6
    assert np.linalg.norm(moved - vertices, axis=1).max() < 0.003


def test_a_level_of_exactly_zero_makes_no_degenerate_surface() -> None:
    level = np.full((20, 20, 20), -0.5)
    level[4:16, 4:16, 4:16] = 0.5
    level[16, 4:16, 4:16] = 0.0
    assert read_stl(stl.to_bytes(surface.extract(bone_of(level), MOST))).is_watertight


def test_no_bone_gives_no_surface(scan: Scan) -> None:
    with pytest.raises(NoSkullBase):
        surface.extract(replace(scan.bone, level=np.full_like(scan.bone.level, -0.5)), MOST)
    speck = np.full((8, 8, 8), -0.5)
    speck[4, 4, 4] = 0.5
    with pytest.raises(NoSkullBase, match="larger"):
        surface.extract(bone_of(speck), MOST)


def test_stl_is_binary_says_its_units_and_has_unit_normals() -> None:
    content = stl.to_bytes(surface.extract(bone_of(np.full((9, 9, 9), 0.5)), MOST))
    count = int.from_bytes(content[80:84], "little")
    assert len(content) == 84 + 50 * count
    assert len(content[:80].rstrip()) <= 80
    for word in (b"mm", b"LPS", b"RESEARCH"):
        assert word in content[:80]
    # A reader takes a file that begins with "solid" for text.
    assert not content.startswith(b"solid")
    normals = np.frombuffer(content[84:], np.dtype([("n", "<f4", 3), ("rest", "V38")]))["n"]
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-4)
