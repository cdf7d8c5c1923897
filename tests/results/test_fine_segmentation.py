"""The segmentation on the fine grid: the same cells at the same places, for two independent readers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from sbnode.errors import NoSkullBase
from sbnode.inference.bone import Bone
from sbnode.results.segmentation import build, build_fine
from tests.conftest import unavailable
from tests.integration.peers import program
from tests.results.phantom import Scan, derivation, make_scan


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def certain_and_inferred(bone: Bone) -> tuple[np.ndarray, np.ndarray]:
    return bone.mask & ~bone.inferred, bone.inferred


@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_highdicom_finds_every_cell_at_its_place(case: str, request: pytest.FixtureRequest) -> None:
    scan: Scan = request.getfixturevalue(case)
    buffer = BytesIO()
    build_fine(scan.bone, scan.volume, derivation()).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    read = hd.seg.segread(buffer).get_volume()
    for number, mask in enumerate(certain_and_inferred(scan.bone)):
        found = read.array[..., number] > 0
        assert np.count_nonzero(found) == np.count_nonzero(mask)
        points_mm = read.map_indices_to_reference(np.argwhere(found))
        index = scan.bone.grid.to_index(points_mm)
        assert np.abs(index - np.rint(index)).max() < 0.01
        assert mask[tuple(np.rint(index).astype(int).T)].all()


def test_it_belongs_to_the_scan_and_is_another_object_than_the_one_on_the_slices(scan: Scan) -> None:
    fine, native = (make(scan.bone, scan.volume, derivation()) for make in (build_fine, build))
    assert fine.FrameOfReferenceUID == native.FrameOfReferenceUID == scan.volume.instances[0].frame_of_reference_uid
    assert fine.StudyInstanceUID == native.StudyInstanceUID
    assert fine.PatientID == native.PatientID
    assert fine.SOPInstanceUID != native.SOPInstanceUID
    assert fine.SeriesInstanceUID != native.SeriesInstanceUID
    assert fine.SeriesNumber == native.SeriesNumber + 2000
    (series,) = fine.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == len(scan.volume.instances)
    (measures,) = fine.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert [float(v) for v in (*measures.PixelSpacing, measures.SpacingBetweenSlices)] == [0.4, 0.4, 0.4]
    assert len(fine.SegmentSequence) == 2
    assert fine.ContentQualification == "RESEARCH"


def test_a_multi_frame_source_is_referred_to_as_a_whole(scan: Scan) -> None:
    enhanced_ct = "1.2.840.10008.5.1.4.1.1.2.1"
    source = replace(scan.volume.instances[0], sop_class_uid=enhanced_ct, sop_instance_uid="1.2.3.4")
    count = len(scan.volume.instances)
    volume = replace(scan.volume, instances=(source,) * count, frames=tuple(range(1, count + 1)))
    fine = build_fine(scan.bone, volume, derivation())
    (series,) = fine.ReferencedSeriesSequence
    (item,) = series.ReferencedInstanceSequence
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (enhanced_ct, "1.2.3.4")


def test_measures_are_those_of_the_grid_where_the_pixels_are_as_large(tmp_path: Path) -> None:
    scan = make_scan(tmp_path, pixel_mm=(0.4, 0.4))
    (measures,) = (
        build_fine(scan.bone, scan.volume, derivation()).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    )
    assert [float(v) for v in (measures.SliceThickness, measures.SpacingBetweenSlices)] == [0.4, 0.4]


def test_without_bone_there_is_none(scan: Scan) -> None:
    nothing = scan.bone.within(np.zeros(scan.bone.grid.shape, np.float32))
    with pytest.raises(NoSkullBase):
        build_fine(nothing, scan.volume, derivation())


@pytest.mark.integration
@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_dciodvfy_and_dcmqi_agree(case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scan: Scan = request.getfixturevalue(case)
    path = saved(build_fine(scan.bone, scan.volume, derivation()), tmp_path / "fine.dcm")
    told = subprocess.run([program("dciodvfy", "dicom3tools"), path], capture_output=True, text=True)
    assert "Segmentation" in told.stderr + told.stdout
    assert "Error" not in told.stderr + told.stdout
    converter = Path(sys.executable).with_name("segimage2itkimage")
    if not converter.exists():
        unavailable("segimage2itkimage is not installed: pip install dcmqi")
    options = ["--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nrrd"]
    subprocess.run([converter, *options], check=True, capture_output=True)
    for number, mask in enumerate(certain_and_inferred(scan.bone), start=1):
        image = SimpleITK.ReadImage(tmp_path / f"{number}.nrrd")
        cells = np.argwhere(SimpleITK.GetArrayFromImage(image))
        assert len(cells) == np.count_nonzero(mask)
        for k, r, c in cells[::97]:
            point = np.array(image.TransformIndexToPhysicalPoint((int(c), int(r), int(k))))
            assert mask[tuple(np.rint(scan.bone.grid.to_index(point)).astype(int))]
