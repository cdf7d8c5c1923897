from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid, SliceStack
from sbnode.results.native import native_masks
from simulator.dicom import axial_stack
from tests.results.phantom import Scan, ball_depth_mm, depth_mm, make_scan, plate_depth_mm


def centres_mm(stack: SliceStack) -> np.ndarray:
    return stack.to_patient(np.moveaxis(np.indices(stack.shape, dtype=np.float64), 0, -1))


def uneven(folder: Path) -> Scan:
    steps = [1.0, 1.0, 1.5, 0.7, 1.2] * 8
    return make_scan(folder, positions_mm=list(np.cumsum(steps) - 21), tilt_degrees=12)


@pytest.mark.parametrize("kind", ["even", "tilted", "uneven"])
def test_voxels_lie_where_the_bone_lies(kind: str, scan: Scan, tilted_scan: Scan, tmp_path: Path) -> None:
    case = {"even": scan, "tilted": tilted_scan}.get(kind) or uneven(tmp_path)
    certain, inferred = native_masks(case.bone, case.volume.stack)
    points = centres_mm(case.volume.stack)
    depth = depth_mm(points)
    wrong = (certain | inferred) != (depth > 0)
    # The level is interpolated between cells of 0.4 mm: voxels nearer to the surface than a cell may differ.
    assert np.abs(depth[wrong]).max(initial=0) < 0.4
    assert not (certain & inferred).any()
    assert inferred[plate_depth_mm(points) > 0.5].all()
    assert certain[ball_depth_mm(points) > 0.5].all()


def plate_bone(stack: SliceStack, normal: tuple[float, float, float], offset_mm: float, sign: float) -> Bone:
    """A plate (or with sign -1 a slit in bone) half a millimetre thick, without inferred bone."""
    axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
    grid = Grid(origin_mm=stack.origins_mm[0], axes=axes, spacing_mm=0.2, shape=(76, 76, 76))
    points = grid.to_patient(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))
    depth = 0.25 - np.abs((points - grid.to_patient(np.array([38.0] * 3))) @ np.array(normal) - offset_mm)
    level = (sign * np.clip(depth, -0.5, 0.5)).astype(np.float32)
    return Bone(
        grid=grid,
        level=level,
        inferred=np.zeros(grid.shape, bool),
        canal=np.zeros(level.shape, bool),
        plate=np.zeros(level.shape, bool),
    )


@pytest.mark.parametrize("normal", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_thinner_than_a_voxel_is_kept(normal: tuple[float, float, float], sign: float) -> None:
    stack = axial_stack((16, 16, 16), (1.0, 1.0, 1.0))
    for offset_mm in np.arange(0.05, 1.0, 0.1):
        certain, _ = native_masks(plate_bone(stack, normal, float(offset_mm), sign), stack)
        inside = certain[3:-3, 3:-3, 3:-3]
        axis = 2 - int(np.argmax(normal))
        found = (inside if sign > 0 else ~inside).sum(axis=axis)
        # Nowhere a hole in the plate (a bridge over the slit), and at most one voxel more than it is thick.
        assert found.min() >= 1
        assert found.max() <= 2


def test_a_canal_keeps_its_calibre_between_thick_slices() -> None:
    stack = axial_stack((5, 16, 24), (2.0, 1.0, 1.0))
    axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
    grid = Grid(origin_mm=stack.origins_mm[0], axes=axes, spacing_mm=0.25, shape=(33, 61, 93))
    z, y, x = np.indices(grid.shape) * 0.25
    # A canal of 1 mm that moves on by 3.4 mm from slice to slice.
    away = np.hypot(y - 7.3, (x - 1.7 * z - 4) / np.hypot(1, 1.7))
    level = np.clip(away - 0.5, -0.5, 0.5).astype(np.float32)
    none = np.zeros(grid.shape, bool)
    shut, _ = native_masks(Bone(grid=grid, level=level, inferred=none, canal=none, plate=none), stack)
    opened, _ = native_masks(Bone(grid=grid, level=level, inferred=none, canal=away < 0.5, plate=none), stack)

    def passage(bone: np.ndarray) -> int:
        """Fewest voxels that are open in one slice and in the next."""
        return int((~bone[1:] & ~bone[:-1]).sum(axis=(1, 2)).min())

    assert passage(shut) <= 1
    assert passage(opened) >= 4
    assert (opened <= shut).all()


def test_a_plate_beside_a_narrow_gap_is_kept_on_thick_slices() -> None:
    stack = axial_stack((6, 16, 16), (3.0, 1.0, 1.0))
    axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
    grid = Grid(origin_mm=stack.origins_mm[0], axes=axes, spacing_mm=0.25, shape=(61, 61, 61))
    z = np.indices(grid.shape)[0] * 0.25
    # Two plates of 0.5 mm in the slice plane with a gap of 1.8 mm between them.
    depth = np.maximum(0.25 - np.abs(z - 6.3), 0.25 - np.abs(z - 8.6))
    plates, gap = depth > 0, (z > 6.55) & (z < 8.35)
    level = np.clip(depth, -0.5, 0.5).astype(np.float32)
    none = np.zeros(grid.shape, bool)
    certain, _ = native_masks(Bone(grid=grid, level=level, inferred=none, canal=gap, plate=plates), stack)
    assert certain[2, 1:-1, 1:-1].all()
    assert certain[3, 1:-1, 1:-1].all()


def test_a_thick_block_does_not_grow() -> None:
    stack = axial_stack((16, 16, 16), (1.0, 1.0, 1.0))
    bone = plate_bone(stack, (0.0, 0.0, 1.0), 0.3, 1.0)
    level = (bone.level + 3.2).astype(np.float32)
    thick = replace(bone, level=np.where(bone.level > -0.5, level, bone.level))
    certain, _ = native_masks(thick, stack)
    sampled = thick.level[0::5, 0::5, 0::5] > 0
    assert np.array_equal(certain[: len(sampled), :16, :16], sampled[:, :16, :16])


def test_slices_beyond_the_grid_are_empty(scan: Scan) -> None:
    certain, inferred = native_masks(scan.bone, scan.volume.stack)
    z = scan.volume.stack.positions_mm
    assert not (certain | inferred)[np.abs(z) > 9.5].any()


def test_no_bone_gives_empty_masks(scan: Scan) -> None:
    nothing = replace(scan.bone, level=np.full_like(scan.bone.level, -0.5))
    nothing = replace(nothing, inferred=np.zeros_like(scan.bone.inferred))
    certain, inferred = native_masks(nothing, scan.volume.stack)
    assert not certain.any()
    assert not inferred.any()


def test_a_grid_of_other_axes_is_refused(scan: Scan, tilted_scan: Scan) -> None:
    with pytest.raises(ValueError, match="axes"):
        native_masks(scan.bone, tilted_scan.volume.stack)
