"""The same bone, written in any order, tilt, spacing, orientation and syntax, is segmented at the same place."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from sbnode.config import Selection
from sbnode.inference.geometry import SliceStack
from sbnode.inference.volume import read_volume
from sbnode.results.segmentation import build
from sbnode.results.viewer_check import require_viewable
from sbnode.series import Series, read_instance
from simulator.dicom import write_series
from tests.results.phantom import depth_mm, derivation, grid_around, phantom_bone

PIXELS = (60, 72)
ROW_MM, COLUMN_MM = 0.6, 0.55
SLICES, STEP_MM = 30, 1.0
HALF_VOXEL_MM = 0.5 * float(np.linalg.norm([STEP_MM, ROW_MM, COLUMN_MM]))
ROUNDING_VOXELS = 2
"""Decimal Strings of 16 characters move a voxel that lies just at the limit."""
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]


def stack_of(right: bool, prone: bool, tilt_degrees: float, yaw_degrees: float, wobble: list[float]) -> SliceStack:
    """Slices about the phantom: rows to either side, columns to back or front, turned and tilted, unevenly spaced."""
    yaw, tilt = np.radians([yaw_degrees, tilt_degrees])
    row = np.array([np.cos(yaw), np.sin(yaw), 0.0]) * (-1 if right else 1)
    across = np.array([-np.sin(yaw), np.cos(yaw), 0.0]) * (-1 if prone else 1)
    column = np.cos(tilt) * across + np.sin(tilt) * np.array([0.0, 0.0, 1.0])
    normal = np.cross(row, column)
    table = np.array([0.0, 0.0, np.sign(normal[2])])
    steps = STEP_MM * (1 + np.array(wobble))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    corner = np.array([4.0, 0.0, 0.0]) - (PIXELS[0] - 1) / 2 * ROW_MM * column - (PIXELS[1] - 1) / 2 * COLUMN_MM * row
    return SliceStack(
        origins_mm=corner + np.outer(along - along.mean(), table),
        row_direction=row,
        column_direction=column,
        row_spacing_mm=ROW_MM,
        column_spacing_mm=COLUMN_MM,
        rows=PIXELS[0],
        columns=PIXELS[1],
    )


def segmented_points(folder: Path, stack: SliceStack, syntax: str, order: str) -> NDArray[np.float64]:
    """Write, read, segment, and read by highdicom: the patient points of all voxels of both segments."""
    points = stack.to_patient(np.moveaxis(np.indices(stack.shape, dtype=np.float64), 0, -1))
    hu = np.where(depth_mm(points) > 0, 1200, 40)
    hu[:, 0, :] = -1000
    paths = write_series(hu, stack, folder / "ct", transfer_syntax=syntax, order=order)  # type: ignore[arg-type]
    instances = [read_instance(path) for path in paths]
    volume = read_volume(Series.of(instances[0].key, instances), Selection())
    path = folder / "seg.dcm"
    build(phantom_bone(grid_around(volume.stack)), volume, derivation()).save_as(path, enforce_file_format=True)
    require_viewable(path, volume)
    found = []
    read = hd.seg.segread(BytesIO(path.read_bytes()))
    shared = read.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    for frame, group in zip(read.pixel_array, read.PerFrameFunctionalGroupsSequence, strict=True):
        rows, columns = np.nonzero(frame)
        to_patient = hd.spatial.PixelToReferenceTransformer(
            image_position=group.PlanePositionSequence[0].ImagePositionPatient,
            image_orientation=orientation,
            pixel_spacing=spacing,
        )
        if len(rows):
            found.append(to_patient(np.stack([columns, rows], axis=1)))
    return np.concatenate(found)


@pytest.mark.parametrize("case", range(14))
def test_the_bone_lies_where_it_is_whatever_the_series_looks_like(tmp_path: Path, case: int) -> None:
    random = np.random.default_rng(case)
    stack = stack_of(
        right=bool(random.integers(2)),
        prone=bool(random.integers(2)),
        tilt_degrees=float(random.choice([0.0, 18.5, -18.5, random.uniform(-25, 25)])),
        yaw_degrees=float(random.uniform(-20, 20)),
        wobble=(random.uniform(-0.3, 0.3, SLICES - 1) * (case % 2)).tolist(),
    )
    order = ["ascending", "descending", "shuffled"][case % 3]
    depth = depth_mm(segmented_points(tmp_path, stack, SYNTAXES[case % len(SYNTAXES)], order))
    assert depth.min() > -HALF_VOXEL_MM
    # Every voxel well inside the bone is there, so that nothing is lost or mirrored.
    indices = np.moveaxis(np.indices(stack.shape, dtype=np.float64), 0, -1)
    inside = depth_mm(stack.to_patient(indices)) > HALF_VOXEL_MM
    assert abs(np.count_nonzero(depth > HALF_VOXEL_MM) - np.count_nonzero(inside)) <= ROUNDING_VOXELS


def test_the_phantom_is_no_mirror_image_of_itself() -> None:
    """Otherwise a swapped side would go unseen."""
    points = np.random.default_rng(3).uniform(-18, 18, (2000, 3))
    for axis in range(3):
        mirrored = points * np.where(np.arange(3) == axis, -1.0, 1.0)
        assert np.count_nonzero((depth_mm(points) > 0) != (depth_mm(mirrored) > 0)) > 10


@pytest.mark.parametrize("tilt_degrees", [30.0, -30.0])
def test_a_gantry_as_steep_as_they_come(tmp_path: Path, tilt_degrees: float) -> None:
    stack = stack_of(False, False, tilt_degrees, 0.0, [0.0] * (SLICES - 1))
    depth = depth_mm(segmented_points(tmp_path, stack, ExplicitVRLittleEndian, "shuffled"))
    assert depth.min() > -2 * HALF_VOXEL_MM
