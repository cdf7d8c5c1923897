"""The demo's scoring tells kept from lost and open from closed."""

from __future__ import annotations

import numpy as np
import pytest

from demo.scoring import score
from simulator.anatomy import Canal, Plate
from simulator.dicom import axial_stack

STACK = axial_stack((40, 60, 60), (0.5, 0.5, 0.5))
PLATE = Plate("plate", 2, (0.0, 0.0, 5.0), (4.0, 4.0), 0.5)
CANAL = Canal("canal", ((0.0, 0.0, -8.0), (0.0, 2.0, -4.0), (0.0, 2.0, 0.0)), 1.0)


def _voxels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    index = np.indices(STACK.shape).astype(np.float64)
    points = STACK.to_patient(np.moveaxis(index, 0, -1))
    return points[..., 0], points[..., 1], points[..., 2]


def _block_with_canal(radius_mm: float) -> np.ndarray:
    x, y, z = _voxels()
    upper = np.hypot(x, y - 2) > radius_mm
    lower = np.hypot(x, y - (z + 8) / 2) > radius_mm
    return np.asarray(np.where(z > -4, upper, lower) & (z < 2))


def test_air_keeps_no_plate_and_opens_every_canal() -> None:
    result = score(np.zeros(STACK.shape, bool), STACK, (PLATE,), (CANAL,))
    assert (result.plates_kept, result.canals_open, result.canals) == (0.0, 1.0, 1)


def test_solid_bone_keeps_every_plate_and_opens_no_canal() -> None:
    result = score(np.ones(STACK.shape, bool), STACK, (PLATE,), (CANAL,))
    assert (result.plates_kept, result.canals_open) == (1.0, 0.0)


def test_half_a_plate_counts_half() -> None:
    x, _, z = _voxels()
    result = score((abs(z - 5) < 0.4) & (x < 0), STACK, (PLATE,), (CANAL,))
    assert result.plates_kept == pytest.approx(0.5, abs=0.06)


def test_bone_beside_a_plate_does_not_count() -> None:
    _, _, z = _voxels()
    assert score(z < 4.0, STACK, (PLATE,), (CANAL,)).plates_kept == 0.0


def test_a_canal_is_open_along_its_bend_and_closed_by_one_septum() -> None:
    bone = _block_with_canal(1.0)
    assert score(bone, STACK, (PLATE,), (CANAL,)).canals_open == 1.0
    _, _, z = _voxels()
    assert score(bone | (abs(z + 2) < 0.3), STACK, (PLATE,), (CANAL,)).canals_open == 0.0


def test_a_way_around_the_canal_does_not_open_it() -> None:
    x, _, z = _voxels()
    outside_only = (z < 2) & (abs(x) < 3)
    assert score(outside_only, STACK, (PLATE,), (CANAL,)).canals_open == 0.0
