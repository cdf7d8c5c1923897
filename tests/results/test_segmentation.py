from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from sbnode.config import Results
from sbnode.errors import NoSkullBase
from sbnode.results.segmentation import build, native_masks
from sbnode.results.source import _padded
from tests.conftest import unavailable
from tests.integration.peers import program
from tests.results.phantom import Scan, derivation, make_scan, to_bytes

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


@pytest.fixture(scope="module")
def written(scan: Scan) -> Dataset:
    return pydicom.dcmread(BytesIO(to_bytes(build(scan.bone, scan.volume, derivation()))))


def frames(segmentation: Dataset) -> list[tuple[int, str, list[float]]]:
    """Segment, source instance and position of every frame."""
    found = []
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        (derivation_item,) = group.DerivationImageSequence
        (source,) = derivation_item.SourceImageSequence
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        found.append((number, source.ReferencedSOPInstanceUID, position))
    return found


@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_highdicom_reads_every_voxel_at_its_place(case: str, request: pytest.FixtureRequest) -> None:
    scan: Scan = request.getfixturevalue(case)
    masks = native_masks(scan.bone, scan.volume.stack)
    read = hd.seg.segread(BytesIO(to_bytes(build(scan.bone, scan.volume, derivation()))))
    uids = [instance.sop_instance_uid for instance in scan.volume.instances]
    pixels = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert np.array_equal(pixels[..., 0], masks[0])
    assert np.array_equal(pixels[..., 1], masks[1])


def test_frames_are_ordered_contiguous_and_have_one_source_each(written: Dataset, scan: Scan) -> None:
    positions = {i.sop_instance_uid: i.position_mm for i in scan.volume.instances}
    order = [i.sop_instance_uid for i in scan.volume.instances]
    filled = np.flatnonzero(np.logical_or(*native_masks(scan.bone, scan.volume.stack)).any(axis=(1, 2)))
    expected = [(n, uid) for n in (1, 2) for uid in order[filled[0] : filled[-1] + 1][::-1]]
    found = frames(written)
    assert [(number, uid) for number, uid, _ in found] == expected
    assert all(position == list(positions[uid]) for _, uid, position in found)
    # The plate is shorter than the ball: its first and last frames are there, and empty.
    second = written.pixel_array[len(expected) // 2 :]
    assert not second[0].any()
    assert not second[-1].any()


def test_the_object_is_what_viewers_need(written: Dataset, scan: Scan) -> None:
    assert written.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert written.SegmentationType == "BINARY"
    assert (written.Rows, written.Columns) == scan.volume.stack.shape[1:]
    assert written.FrameOfReferenceUID == scan.volume.instances[0].frame_of_reference_uid
    (series,) = written.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == scan.volume.instances[0].key.series_instance_uid
    (shared,) = written.SharedFunctionalGroupsSequence
    (measures,) = shared.PixelMeasuresSequence
    assert [float(v) for v in measures.PixelSpacing] == [0.6, 0.55]
    assert float(measures.SliceThickness) == 1.0
    assert float(measures.SpacingBetweenSlices) == 1.0
    assert [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]


def test_spacing_of_a_tilted_series_is_along_the_normal(tilted_scan: Scan) -> None:
    segmentation = build(tilted_scan.bone, tilted_scan.volume, derivation())
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(np.cos(np.radians(18.5)), abs=1e-4)


def test_it_says_what_it_is_and_where_it_comes_from(written: Dataset) -> None:
    assert written.ContentQualification == "RESEARCH"
    assert written.SeriesNumber == 2 + Results().series_number_offset
    assert written.SeriesDescription == "Skull base segmentation (RESEARCH)"
    first, second = written.SegmentSequence
    assert (first.SegmentLabel, second.SegmentLabel) == ("Skull base", "Inferred thin bone")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "31467002"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99SBNODE"
    assert written.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99SBNODE"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    assert "share no voxel" in first.SegmentDescription
    assert written.SegmentsOverlap == "NO"
    for segment, family in ((first, "123110"), (second, "123102")):
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == family
        assert "ab" * 32 in algorithm.AlgorithmParameters
        assert "threshold_lowest=0.15" in algorithm.AlgorithmParameters
        assert len(segment.RecommendedDisplayCIELabValue) == 3
    assert "sbnode" in [item.Manufacturer for item in written.ContributingEquipmentSequence]


def test_all_bone_is_called_so(scan: Scan) -> None:
    segmentation = build(scan.bone, scan.volume, derivation(region="all_bone"))
    assert segmentation.SegmentSequence[0].SegmentLabel == "Bone"
    assert segmentation.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "312779009"
    assert segmentation.SeriesDescription == "Bone segmentation (RESEARCH)"


def test_the_same_job_gives_the_same_bytes_and_another_job_other_uids(scan: Scan, written: Dataset) -> None:
    again = to_bytes(build(scan.bone, scan.volume, derivation()))
    assert again == to_bytes(build(scan.bone, scan.volume, derivation()))
    other = build(scan.bone, scan.volume, derivation(job_key="f" * 32))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert other[keyword].value != written[keyword].value
    assert other.StudyInstanceUID == written.StudyInstanceUID
    tracking = [segment.TrackingUID for segment in written.SegmentSequence]
    assert len(set(tracking)) == 2


def test_without_inferred_bone_there_is_one_segment(scan: Scan) -> None:
    bone = replace(scan.bone, inferred=np.zeros_like(scan.bone.inferred))
    read = hd.seg.segread(BytesIO(to_bytes(build(bone, scan.volume, derivation()))))
    assert read.number_of_segments == 1


def test_no_bone_on_the_slices_is_refused(scan: Scan) -> None:
    bone = replace(scan.bone, level=np.full_like(scan.bone.level, -0.5))
    bone = replace(bone, inferred=np.zeros_like(bone.inferred))
    with pytest.raises(NoSkullBase):
        build(bone, scan.volume, derivation())


@pytest.mark.parametrize(
    "attributes",
    [
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Zoë=山田"},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "PatientComments": "Größe  "},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
        {"SpecificCharacterSet": None, "PatientName": "Plain^Name", "PatientSex": "X", "PatientAge": "71"},
    ],
)
def test_patient_and_study_keep_their_bytes(tmp_path: Path, attributes: dict[str, Any]) -> None:
    scan = make_scan(tmp_path, **attributes)
    source = pydicom.dcmread(scan.volume.instances[0].path, stop_before_pixels=True)
    segmentation = build(scan.bone, scan.volume, derivation())
    assert str(segmentation.PatientName) == str(source.PatientName)
    read = pydicom.dcmread(BytesIO(to_bytes(segmentation)))
    keywords = ["PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "StudyID", "StudyDescription", *attributes]
    raw = pydicom.dcmread(scan.volume.instances[0].path, stop_before_pixels=True)
    for keyword in keywords:
        assert (keyword in read) == (keyword in raw)
        if keyword in raw:
            tag = pydicom.tag.Tag(keyword)
            assert read.get_item(tag).value == raw.get_item(tag).value, keyword


def test_a_missing_type_2_attribute_is_empty_and_nothing_is_made_up(tmp_path: Path) -> None:
    missing = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    scan = make_scan(tmp_path, SeriesNumber=None, **dict.fromkeys(missing))
    read = pydicom.dcmread(BytesIO(to_bytes(build(scan.bone, scan.volume, derivation()))))
    for keyword in missing:
        assert keyword in read
        assert not read[keyword].value
    assert "PatientAge" not in read
    assert read.SeriesNumber == Results().series_number_offset


def test_a_multi_frame_source_is_referred_to_by_frame(scan: Scan) -> None:
    source = replace(scan.volume.instances[0], sop_class_uid=ENHANCED_CT, sop_instance_uid="1.2.3.4")
    count = len(scan.volume.instances)
    # Frames stored from top to bottom, slices sorted from bottom to top.
    volume = replace(scan.volume, instances=(source,) * count, frames=tuple(range(count, 0, -1)))
    read = pydicom.dcmread(BytesIO(to_bytes(build(scan.bone, volume, derivation()))))
    z = {volume.frames[k]: scan.volume.stack.origins_mm[k][2] for k in range(count)}
    for group in read.PerFrameFunctionalGroupsSequence:
        (item,) = group.DerivationImageSequence[0].SourceImageSequence
        assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (ENHANCED_CT, "1.2.3.4")
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert float(position[2]) == pytest.approx(z[item.ReferencedFrameNumber], abs=1e-6)
    (series,) = read.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence] == ["1.2.3.4"]
    assert hd.seg.segread(BytesIO(to_bytes(read))).number_of_segments == 2


@pytest.mark.integration
@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_dciodvfy_finds_no_error(case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scan: Scan = request.getfixturevalue(case)
    path = tmp_path / "seg.dcm"
    path.write_bytes(to_bytes(build(scan.bone, scan.volume, derivation())))
    told = subprocess.run([program("dciodvfy", "dicom3tools"), path], capture_output=True, text=True)
    assert "Segmentation" in told.stderr + told.stdout
    assert "Error" not in told.stderr + told.stdout


@pytest.mark.integration
def test_dcmqi_reads_every_voxel_at_its_place(scan: Scan, written: Dataset, tmp_path: Path) -> None:
    converter = Path(sys.executable).with_name("segimage2itkimage")
    if not converter.exists():
        unavailable("segimage2itkimage is not installed: pip install dcmqi")
    path = tmp_path / "seg.dcm"
    written.save_as(path)
    arguments = ["--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nrrd"]
    subprocess.run([converter, *arguments], check=True, capture_output=True)
    for number, mask in enumerate(native_masks(scan.bone, scan.volume.stack), start=1):
        image = SimpleITK.ReadImage(tmp_path / f"{number}.nrrd")
        labels = SimpleITK.GetArrayFromImage(image)
        assert np.count_nonzero(labels) == np.count_nonzero(mask)
        for k, r, c in np.argwhere(labels)[::97]:
            place = np.array(image.TransformIndexToPhysicalPoint((int(c), int(r), int(k))))
            offset = place - scan.volume.stack.origins_mm[0]
            index = np.rint(offset[::-1] / [1.0, 0.6, 0.55]).astype(int)
            assert mask[tuple(index)]


@pytest.mark.parametrize(
    ("stored", "written"), [(b"\0\0", b""), (b"AB\0\0", b"AB"), (b"ABC\0", b"ABC "), (b"AB", b"AB"), (b"", b"")]
)
def test_text_padded_with_nul_is_padded_with_a_space(stored: bytes, written: bytes) -> None:
    assert _padded(stored, "LO") == written


def test_uids_keep_their_nul() -> None:
    assert _padded(b"1.2\0", "UI") == b"1.2\0"
