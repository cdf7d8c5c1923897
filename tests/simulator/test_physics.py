"""The acquisition meets the closed forms: plates keep erf(t / (2 sqrt2 s)), canals exp(-r^2 / (2 s^2))."""

from __future__ import annotations

import numpy as np
import pytest

from simulator import ct, shapes
from simulator.shapes import FineGrid

GRID = FineGrid(count=64, step_mm=0.2)
BONE_HU = 1300.0
MIDDLE = np.full(3, 6.4)
TOLERANCE_HU = 0.02 * BONE_HU


def clean(fwhm_mm: float) -> ct.Acquisition:
    """Fine sampling centred on the middle of the grid, with a slice too thin to matter."""
    return ct.Acquisition(
        fwhm_mm=fwhm_mm,
        overshoot=0.0,
        slice_thickness_mm=0.4,
        slice_step_mm=0.4,
        pixel_mm=0.1,
        noise_hu=0.0,
        phase=(0.0, 0.0, 0.0),
    )


@pytest.mark.parametrize(
    ("thickness_mm", "brain_fat_hu", "air_fat_hu"),
    [(0.13, 203, -226), (0.2, 323, -59), (0.25, 405, 56), (0.5, 769, 561), (1.0, 1177, 1129)],
)
def test_plate_peaks_equal_the_table(thickness_mm: float, brain_fat_hu: float, air_fat_hu: float) -> None:
    normal = np.array([0.0, 1.0, 0.0])
    distance = np.broadcast_to(shapes.linear(GRID, normal, MIDDLE), GRID.shape)
    plate = shapes.slab_fraction(distance, thickness_mm, GRID.step_mm)
    side = shapes.inside_fraction(distance, GRID.step_mm)
    for near_hu, expected_hu in ((35.0, brain_fat_hu), (-1000.0, air_fat_hu)):
        background = near_hu * side - 100.0 * (1.0 - side)
        scan = ct.project(background * (1 - plate) + BONE_HU * plate, GRID.step_mm, clean(0.7))
        row = scan[scan.shape[0] // 2, :, scan.shape[2] // 2]
        at_plate = row[round(MIDDLE[1] / 0.1)]
        assert at_plate == pytest.approx(expected_hu, abs=TOLERANCE_HU)


@pytest.mark.parametrize(("diameter_mm", "axis_hu"), [(0.5, 923), (0.8, 547), (1.0, 342), (1.5, 87), (2.0, 39)])
def test_canal_axes_equal_the_table(diameter_mm: float, axis_hu: float) -> None:
    path = shapes.Curve(
        origin_mm=MIDDLE,
        along=np.array([1.0, 0.0, 0.0]),
        first=np.array([0.0, 1.0, 0.0]),
        second=np.array([0.0, 0.0, 1.0]),
    )
    away, _ = shapes.curve_distance(GRID, path)
    canal = shapes.inside_fraction(away - shapes.tube_radius(0.5 * diameter_mm, GRID.step_mm), GRID.step_mm)
    scan = ct.project(BONE_HU * (1 - canal) + 35.0 * canal, GRID.step_mm, clean(0.7))
    middle = round(MIDDLE[1] / 0.1)
    measured_hu = scan[scan.shape[0] // 2, middle, middle]
    assert measured_hu == pytest.approx(axis_hu, abs=TOLERANCE_HU)


def test_the_closed_forms_themselves() -> None:
    assert ct.plate_peak(0.25, 0.7) * (BONE_HU + 32.5) - 32.5 == pytest.approx(405, abs=12)
    assert 35 + (BONE_HU - 35) * ct.canal_axis(1.0, 0.7) == pytest.approx(342, abs=12)


def test_a_tilted_plate_thinner_than_a_cell_keeps_its_mass() -> None:
    normal = np.array([0.3, 0.8, 0.52])
    normal /= np.linalg.norm(normal)
    distance = shapes.linear(GRID, normal, MIDDLE)
    mass = shapes.slab_fraction(distance, 0.13, GRID.step_mm)[8:-8, :, 8:-8].sum(axis=1) * GRID.step_mm
    inner = mass[20:28, 20:28] * normal[1]
    assert float(inner.mean()) == pytest.approx(0.13, rel=0.02)


def test_noise_has_the_asked_deviation_and_no_offset() -> None:
    setting = ct.Acquisition(
        fwhm_mm=0.7, overshoot=0.3, slice_thickness_mm=0.6, slice_step_mm=0.6, pixel_mm=0.4, noise_hu=40.0
    )
    flat = np.zeros((64, 64, 64), dtype=np.float32)
    stored = ct.scan(flat, 0.4, setting, np.random.default_rng(1))
    assert float(stored.std()) == pytest.approx(40.0, rel=0.05)
    assert abs(float(stored.mean())) < 2.0


def test_a_sharp_kernel_overshoots_at_an_edge_and_a_soft_one_does_not() -> None:
    distance = np.broadcast_to(shapes.linear(GRID, np.array([0.0, 1.0, 0.0]), MIDDLE), GRID.shape)
    bone = BONE_HU * shapes.inside_fraction(distance, GRID.step_mm)
    soft = ct.project(bone, GRID.step_mm, clean(0.7))
    sharp_setting = ct.Acquisition(
        fwhm_mm=0.7, overshoot=0.4, slice_thickness_mm=0.4, slice_step_mm=0.4, pixel_mm=0.4, noise_hu=0.0
    )
    sharp = ct.project(bone, GRID.step_mm, sharp_setting)
    assert float(soft.max()) <= BONE_HU * 1.001
    assert float(sharp.max()) > BONE_HU * 1.02


def test_the_input_grid_lies_on_the_scene() -> None:
    """A bone edge at 6.4 mm stays there through acquisition and resampling."""
    distance = np.broadcast_to(shapes.linear(GRID, np.array([0.0, 0.0, 1.0]), MIDDLE), GRID.shape)
    bone = BONE_HU * shapes.inside_fraction(distance, GRID.step_mm)
    setting = ct.Acquisition(
        fwhm_mm=0.6,
        overshoot=0.0,
        slice_thickness_mm=0.6,
        slice_step_mm=0.5,
        pixel_mm=0.45,
        noise_hu=0.0,
        phase=(0.2, 0.7, 0.4),
    )
    stored = ct.scan(bone, GRID.step_mm, setting, np.random.default_rng(0))
    line = ct.to_input_grid(stored, setting, (32, 32, 32), 0.4)[16, 16]
    crossing = np.interp(-650.0, -line, (np.arange(32) + 0.5) * 0.4)
    assert crossing == pytest.approx(6.4, abs=0.05)
