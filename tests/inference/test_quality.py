"""Blur and noise measured on scans where both are known, and what is said because of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from sbnode.inference import quality
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.inference.quality import Quality
from sbnode.inference.volume import Volume
from simulator.dicom import axial_stack
from simulator.head import simulate_head

FINE = Quality(fwhm_mm=0.6, slice_mm=0.6, noise_hu=30.0, thinnest_plate_mm=0.2)


def scan(fwhm_mm: float, noise_hu: float) -> Volume:
    head = simulate_head(
        slices=24, rows=320, spacing_mm=(2.0, 0.6, 0.6), fwhm_mm=fwhm_mm, noise_hu=noise_hu, overshoot=0.0
    )
    return Volume(hu=head.hu.astype(np.int16), stack=head.stack, instances=(), frames=())


def bone(level: np.ndarray) -> Bone:
    grid = Grid(origin_mm=np.full(3, -8.0), axes=np.eye(3)[::-1], spacing_mm=0.4, shape=level.shape)  # type: ignore[arg-type]
    inferred, canal, plate = np.zeros((3, *level.shape), bool)
    return Bone(grid=grid, level=level.astype(np.float32), inferred=inferred, canal=canal, plate=plate)


def block() -> np.ndarray:
    level = np.full((40, 40, 40), -0.5)
    level[10:30, 10:30, 10:30] = 0.5
    return level


def volume() -> Volume:
    stack = axial_stack((20, 20, 20), (1.0, 1.0, 1.0))
    return Volume(hu=np.zeros(stack.shape, np.int16), stack=stack, instances=(), frames=())


@pytest.mark.parametrize(("fwhm_mm", "noise_hu"), [(0.7, 40.0), (0.9, 25.0), (1.1, 10.0), (0.7, 120.0)])
def test_blur_and_noise_are_those_of_the_scan(fwhm_mm: float, noise_hu: float) -> None:
    found = quality.measure(scan(fwhm_mm, noise_hu))
    assert found.fwhm_mm == pytest.approx(fwhm_mm, rel=0.2)
    assert found.noise_hu == pytest.approx(noise_hu, rel=0.2)
    assert found.slice_mm == pytest.approx(2.0)


def test_a_scan_without_edges_or_tissue_measures_nothing() -> None:
    empty = replace(volume(), hu=np.full((20, 20, 20), -1000, np.int16))
    found = quality.measure(empty)
    assert found.fwhm_mm is None
    assert found.noise_hu is None
    assert found.thinnest_plate_mm == quality.thinnest_plate_mm(1.0, 0.0)


@pytest.mark.parametrize(
    ("fwhm_mm", "noise_hu", "share"), [(0.7, 0.0, 0.25), (1.25, 20.0, 0.25), (0.5, 150.0, 600 / 1300)]
)
def test_the_thinnest_plate_peaks_at_what_is_visible(fwhm_mm: float, noise_hu: float, share: float) -> None:
    thickness_mm = quality.thinnest_plate_mm(fwhm_mm, noise_hu)
    sigma_mm = fwhm_mm / 2.3548
    assert special.erf(thickness_mm / (2 * np.sqrt(2) * sigma_mm)) == pytest.approx(share)


def test_a_fine_whole_scan_has_no_flag() -> None:
    assert quality.flags(FINE, volume(), bone(block())) == ()


def test_what_is_coarse_is_flagged_with_its_number() -> None:
    coarse = Quality(fwhm_mm=1.3, slice_mm=2.5, noise_hu=8.0, thinnest_plate_mm=0.68)
    found = {flag.code: flag.message for flag in quality.flags(coarse, volume(), bone(block()))}
    assert set(found) == {"coarse_scan", "soft_kernel"}
    assert "0.7 mm" in found["coarse_scan"]
    assert "1.3 mm" in found["soft_kernel"]


def test_metal_is_flagged_by_its_volume() -> None:
    filled = volume()
    filled.hu[4:15, 5, 4:15] = 3071
    (flag,) = quality.flags(FINE, filled, bone(block()))
    assert flag.code == "metal"
    assert "0.1 mL" in flag.message


@pytest.mark.parametrize("tilt_degrees", [0.0, 20.0])
@pytest.mark.parametrize(
    ("voxels", "side"),
    [
        (np.s_[:3, 8:14, 8:14], "bottom"),
        (np.s_[-3:, 8:14, 8:14], "top"),
        (np.s_[8:14, :3, 8:14], "front"),
        (np.s_[8:14, -3:, 8:14], "back"),
        (np.s_[8:14, 8:14, :3], "right"),
        (np.s_[8:14, 8:14, -3:], "left"),
        (np.s_[8:14, 8:14, 8:14], ""),
    ],
)
def test_bone_at_the_end_of_the_scan_is_flagged_by_its_side(
    voxels: tuple[slice, ...], side: str, tilt_degrees: float
) -> None:
    stack = axial_stack((20, 20, 20), (1.0, 1.0, 1.0), tilt_degrees=tilt_degrees)
    corners = stack.to_patient(np.array([[0.0, 0, 0], [19, 19, 19], [19, 0, 0], [0, 19, 19]]))
    grid = Grid.around(corners, stack, spacing_mm=0.4, margin_mm=0.0)
    index = stack.to_index(grid.to_patient(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1)))
    filled = np.zeros(stack.shape, bool)
    filled[voxels] = True
    nearest = np.rint(index).astype(int)
    seen = ((nearest >= 0) & (nearest < 20)).all(axis=-1)
    level = np.where(seen & filled[tuple(np.moveaxis(np.clip(nearest, 0, 19), -1, 0))], 0.5, -0.5)
    made = replace(bone(level), grid=grid)
    scanned = Volume(hu=np.zeros(stack.shape, np.int16), stack=stack, instances=(), frames=())
    found = [flag.message for flag in quality.flags(FINE, scanned, made)]
    assert found == ([f"the scan ends within the wanted bone: {side}"] if side else [])
    assert quality.flags(FINE, scanned, made, whole=True) == ()


def test_mostly_inferred_bone_is_flagged() -> None:
    guessed = bone(block())
    guessed.inferred[10:20, 10:30, 10:30] = True
    (flag,) = quality.flags(FINE, volume(), guessed)
    assert flag.code == "mostly_inferred"
    assert "50%" in flag.message


def test_motion_is_flagged_where_the_wanted_bone_lies() -> None:
    head = simulate_head(slices=30, rows=320, spacing_mm=(1.0, 0.6, 0.6))
    hu = head.hu.copy()
    hu[14:] = np.roll(hu[14:], 5, axis=1)
    moved = Volume(hu=hu, stack=head.stack, instances=(), frames=())

    def coded(first: int, last: int) -> list[str]:
        """Flags of a block of bone between two slices."""
        grid = Grid(
            origin_mm=head.stack.origins_mm[0] + [90.0, 90.0, 0.0],
            axes=np.eye(3)[::-1],
            spacing_mm=0.5,
            shape=(60, 9, 9),
        )
        level = np.full(grid.shape, -0.5, np.float32)
        level[2 * first : 2 * last, 2:-2, 2:-2] = 0.5
        none = np.zeros(grid.shape, bool)
        of = Bone(grid=grid, level=level, inferred=none, canal=none, plate=none)
        return [f.message for f in quality.flags(FINE, moved, of, whole=True) if f.code == "motion"]

    (message,) = coded(5, 25)
    assert "3.0 mm" in message
    assert f"z {head.stack.origins_mm[14, 2]:.1f}" in message
    assert coded(17, 25) == []
