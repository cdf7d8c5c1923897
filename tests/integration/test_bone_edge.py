"""The measure itself, on a plate whose edges are known."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.ndimage import gaussian_filter1d

from tests.integration.bone_edge import CtSlices, edge_distance

SPACING_MM = 0.5


def plate(thickness_mm: float, height_hu: float = 1200.0) -> CtSlices:
    """A bony plate between z = 0 and ``thickness_mm`` in soft tissue, blurred as a scanner does."""
    fine_mm = np.arange(-20, 20, 0.05) + 0.025
    profile = np.where((fine_mm > 0) & (fine_mm < thickness_mm), height_hu, 40.0)
    z_mm = np.arange(-15, 15, SPACING_MM)
    hu = np.interp(z_mm, fine_mm, gaussian_filter1d(profile, 0.4 / 0.05))
    return CtSlices(
        hu=np.broadcast_to(hu[:, None, None], (len(hu), 40, 40)),
        origin_mm=np.array([-10.0, -10.0, -15.0]),
        axes=np.array([[0, 0, 1.0], [0, 1, 0], [1, 0, 0]]),
        spacing_mm=np.full(3, SPACING_MM),
    )


def sheet(thickness_mm: float, lift_mm: float) -> trimesh.Trimesh:
    """The plate's surface, moved outwards by ``lift_mm`` on both of its sides."""
    box = trimesh.creation.box((12, 12, thickness_mm + 2 * lift_mm)).subdivide_to_size(1.0)
    box.apply_translation((0, 0, thickness_mm / 2))
    # The narrow sides lie where this endless plate has no edge.
    flat = np.abs(box.face_normals[:, 2]) > 0.9
    mesh = trimesh.Trimesh(box.vertices, box.faces[flat], process=False)
    mesh.remove_unreferenced_vertices()
    return mesh


@pytest.mark.parametrize("lift_mm", [-0.4, 0.0, 0.3, 1.0])
def test_the_distance_to_a_thick_plate_is_what_the_surface_was_moved_by(lift_mm: float) -> None:
    measured = edge_distance(sheet(4.0, lift_mm), plate(4.0))
    assert measured.share == 1
    assert np.mean(measured.signed_mm) == pytest.approx(-lift_mm, abs=0.05)
    assert np.mean(measured.voxels) == pytest.approx(abs(lift_mm) / SPACING_MM, abs=0.1)


def test_a_thin_plate_has_its_edges_at_its_own_half_maximum() -> None:
    # Half of a peak of 0.5 mm blurred by 0.4 mm lies 0.3 mm outside the plate: what a perfect surface gets.
    measured = edge_distance(sheet(0.5, 0.0), plate(0.5))
    assert measured.share == 1
    assert 0.2 < np.mean(measured.signed_mm) < 0.4


def test_inside_uniform_bone_there_is_no_edge() -> None:
    assert edge_distance(sheet(2.0, 0.0), plate(30.0)).share < 0.51
