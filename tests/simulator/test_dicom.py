"""The simulated CT series is valid DICOM and holds what was put in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from sbnode.series import read_instance
from simulator.dicom import axial_stack, write_series

SHAPE = (4, 64, 48)


def _hu() -> np.ndarray:
    return np.random.default_rng(1).integers(-1024, 3072, SHAPE)


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_pixels_come_back_in_every_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    hu = _hu()
    paths = write_series(hu, axial_stack(SHAPE, (1.0, 0.5, 0.5)), tmp_path, transfer_syntax=syntax)
    for k, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(dataset.pixel_array.astype(int) + int(dataset.RescaleIntercept), hu[k])


def test_tilt_rotates_the_planes_and_leaves_the_step_along_z(tmp_path: Path) -> None:
    stack = axial_stack(SHAPE, (1.0, 0.5, 0.5), tilt_degrees=-18.5)
    first, second = (read_instance(path) for path in write_series(_hu(), stack, tmp_path)[:2])
    assert first.position_mm is not None
    assert second.position_mm is not None
    assert np.subtract(second.position_mm, first.position_mm) == pytest.approx([0, 0, 1.0])
    assert np.cross(stack.row_direction, stack.column_direction)[1] == pytest.approx(np.sin(np.radians(18.5)))


def test_uneven_positions_order_and_attributes_reach_the_header(tmp_path: Path) -> None:
    stack = axial_stack(SHAPE, (1.0, 0.5, 0.25), positions_mm=[0.0, 1.0, 2.5, 7.0])
    paths = write_series(_hu(), stack, tmp_path, order="descending", BodyPartExamined=None, SeriesNumber=7)
    instances = [read_instance(path) for path in paths]
    assert [i.position_mm[2] for i in instances if i.position_mm] == pytest.approx([7.0, 2.5, 1.0, 0.0])
    assert [i.instance_number for i in instances] == [1, 2, 3, 4]
    assert {i.series_number for i in instances} == {7}
    assert {i.body_part for i in instances} == {""}
    assert instances[0].pixel_spacing_mm == (0.5, 0.25)


def test_the_same_names_give_the_same_series(tmp_path: Path) -> None:
    stack = axial_stack(SHAPE, (1.0, 0.5, 0.5))
    one, again, other = (
        read_instance(write_series(_hu(), stack, tmp_path / name, series=series)[0])
        for name, series in (("a", "x"), ("b", "x"), ("c", "y"))
    )
    assert one.sop_instance_uid == again.sop_instance_uid
    assert one.key.study_instance_uid == other.key.study_instance_uid
    assert one.key.series_instance_uid != other.key.series_instance_uid


def test_another_shape_than_the_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        write_series(_hu()[1:], axial_stack(SHAPE, (1.0, 0.5, 0.5)), tmp_path)


@pytest.mark.integration
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
def test_dciodvfy_finds_no_error(tmp_path: Path, syntax: str) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.fail("dciodvfy is missing: apt-get install dicom3tools")
    stack = axial_stack(SHAPE, (1.0, 0.5, 0.5), tilt_degrees=12.0)
    path = write_series(_hu(), stack, tmp_path, transfer_syntax=syntax)[0]
    report = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert "Error" not in report.stdout + report.stderr
