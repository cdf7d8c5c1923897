"""A ball of bone with a thin plate beside it, known in patient coordinates, on the slices of a small CT series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sbnode.config import Results, Selection, Threshold
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid, SliceStack
from sbnode.inference.volume import Volume, read_volume
from sbnode.results.identity import Derivation, ModelIdentity
from sbnode.series import Series, read_instance
from simulator.dicom import axial_stack, write_series

BALL_MM = np.array([2.0, -1.0, 1.0])
BALL_RADIUS_MM = 7.0
PLATE_X_MM = (14.0, 16.0)
"""The plate, a block of 2 x 8 x 8 mm left of the ball, is the inferred bone."""
PLATE_HALF_MM = 4.0
SPACING_MM = 0.4


@dataclass(frozen=True)
class Scan:
    bone: Bone
    volume: Volume


def depth_mm(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """How deep points lie in the bone, mm; negative outside."""
    return np.maximum(ball_depth_mm(points_mm), plate_depth_mm(points_mm))


def ball_depth_mm(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return BALL_RADIUS_MM - np.linalg.norm(points_mm - BALL_MM, axis=-1)


def plate_depth_mm(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    across = np.minimum(points_mm[..., 0] - PLATE_X_MM[0], PLATE_X_MM[1] - points_mm[..., 0])
    along = PLATE_HALF_MM - np.abs(points_mm[..., 1:]).max(axis=-1)
    return np.minimum(across, along)


def grid_around(stack: SliceStack) -> Grid:
    corners = np.array([[-9.0, -10.0, -9.0], [18.0, 8.0, 10.0]])
    box = np.array([[x, y, z] for x in corners[:, 0] for y in corners[:, 1] for z in corners[:, 2]])
    return Grid.around(box, stack, spacing_mm=SPACING_MM, margin_mm=1.0)


def phantom_bone(grid: Grid) -> Bone:
    points_mm = grid.to_patient(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))
    depth = depth_mm(points_mm)
    level = np.clip(depth / 0.8, -0.5, 0.5).astype(np.float32)
    return Bone(
        grid=grid,
        level=level,
        inferred=(plate_depth_mm(points_mm) > 0) & (level > 0),
        canal=np.zeros(level.shape, bool),
        plate=np.zeros(level.shape, bool),
    )


def make_scan(
    folder: Path,
    *,
    tilt_degrees: float = 0.0,
    positions_mm: Sequence[float] | None = None,
    slice_mm: float = 1.0,
    pixel_mm: tuple[float, float] = (0.6, 0.55),
    **attributes: Any,
) -> Scan:
    """Write the series and read it back; 34 slices of 64 x 72 pixels, unless told otherwise."""
    stack = axial_stack(
        (34 if positions_mm is None else len(positions_mm), 64, 72),
        (slice_mm, *pixel_mm),
        positions_mm=positions_mm,
        tilt_degrees=tilt_degrees,
        centre_mm=(4.0, 0.0, 0.0),
    )
    indices = np.moveaxis(np.indices(stack.shape, dtype=np.float64), 0, -1)
    hu = np.where(depth_mm(stack.to_patient(indices)) > 0, 1200, 40)
    hu[:, 0, :] = -1000
    paths = write_series(hu, stack, folder, **attributes)
    instances = [read_instance(path) for path in paths]
    volume = read_volume(Series.of(instances[0].key, instances), Selection())
    return Scan(phantom_bone(grid_around(volume.stack)), volume)


def derivation(**changes: Any) -> Derivation:
    values: dict[str, Any] = {
        "job_key": "0123456789abcdef" * 2,
        "model": ModelIdentity(name="skullbase", version="1.2.0", sha256="ab" * 32, licence="Apache-2.0"),
        "region": "skull_base",
        "threshold": Threshold(),
        "settings": Results(),
        "made_at": datetime(2026, 1, 2, 3, 4, 5, 600),
    }
    return Derivation(**{**values, **changes})


def to_bytes(dataset: Dataset) -> bytes:
    """The dataset as a file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
