from __future__ import annotations

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.dataset import Dataset

from sbnode.config import Results
from sbnode.results.encapsulated import STL_SERIES_STEP, build
from sbnode.results.segmentation import build as build_segmentation
from tests.integration.peers import program
from tests.results.phantom import Scan, derivation, to_bytes

STL = b"Units mm".ljust(80) + (1).to_bytes(4, "little") + bytes(50)
ICON = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)


@pytest.fixture(scope="module")
def written(scan: Scan) -> Dataset:
    return pydicom.dcmread(BytesIO(to_bytes(build(STL, scan.volume, derivation(), ICON))))


def test_the_stl_comes_back_byte_for_byte(written: Dataset) -> None:
    assert written.EncapsulatedDocument == STL
    assert written.EncapsulatedDocumentLength == len(STL)
    assert written.MIMETypeOfEncapsulatedDocument == "model/stl"


def test_every_mandatory_attribute_of_the_iod_is_there(written: Dataset) -> None:
    iod = get_sop_class_iod_map()[written.SOPClassUID]
    assert iod == "encapsulated-stl"
    attributes = get_module_attribute_map()
    for module in get_iod_module_map()[iod]:
        if module["usage"] != "M":
            continue
        for attribute in attributes[module["key"]]:
            items = [written]
            for keyword in attribute["path"]:
                items = [child for item in items for child in item.get(keyword, [])]
            for item in items:
                if attribute["type"] in ("1", "2"):
                    assert attribute["keyword"] in item, (module["key"], attribute)
                if attribute["type"] == "1":
                    assert not item[attribute["keyword"]].is_empty, (module["key"], attribute)


def test_it_says_what_it_is_and_where_it_lies(written: Dataset, scan: Scan) -> None:
    assert written.Modality == "M3D"
    assert written.ContentQualification == "RESEARCH"
    assert written.FrameOfReferenceUID == scan.volume.instances[0].frame_of_reference_uid
    assert written.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
    assert written.ConceptNameCodeSequence[0].CodeValue == "85040-4"
    assert written.BurnedInAnnotation == "NO"
    assert written.RecognizableVisualFeatures == "NO"
    assert written.SeriesNumber == 2 + Results().series_number_offset + STL_SERIES_STEP
    assert len(written.SourceInstanceSequence) == len(scan.volume.instances)
    assert written.AcquisitionDateTime == "20260102030405"
    (icon,) = written.IconImageSequence
    assert (icon.Rows, icon.Columns) == (64, 64)
    assert icon.PixelData == ICON.tobytes()


def test_all_bone_shows_a_face(scan: Scan) -> None:
    document = build(STL, scan.volume, derivation(region="all_bone"))
    assert document.RecognizableVisualFeatures == "YES"
    assert "IconImageSequence" not in document


def test_it_is_in_the_same_study_and_another_series_than_the_segmentation(written: Dataset, scan: Scan) -> None:
    segmentation = build_segmentation(scan.bone, scan.volume, derivation())
    assert written.StudyInstanceUID == segmentation.StudyInstanceUID
    assert written.PatientID == segmentation.PatientID
    assert written.SeriesInstanceUID != segmentation.SeriesInstanceUID
    assert written.SOPInstanceUID != segmentation.SOPInstanceUID
    assert written.FrameOfReferenceUID == segmentation.FrameOfReferenceUID


def test_the_same_job_gives_the_same_bytes(scan: Scan) -> None:
    first, second = (to_bytes(build(STL, scan.volume, derivation(), ICON)) for _ in range(2))
    assert first == second


def test_frames_of_a_multi_frame_source_are_named_once(scan: Scan) -> None:
    source = replace(scan.volume.instances[0], sop_class_uid="1.2.840.10008.5.1.4.1.1.2.1")
    count = len(scan.volume.instances)
    volume = replace(scan.volume, instances=(source,) * count, frames=tuple(range(1, count + 1)))
    (reference,) = build(STL, volume, derivation()).SourceInstanceSequence
    assert list(reference.ReferencedFrameNumber) == list(range(1, count + 1))


@pytest.mark.parametrize("content", [b"", b"odd"])
def test_what_is_no_binary_stl_is_refused(scan: Scan, content: bytes) -> None:
    with pytest.raises(ValueError, match="even length"):
        build(content, scan.volume, derivation())


@pytest.mark.integration
def test_dciodvfy_finds_no_error(written: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "stl.dcm"
    written.save_as(path)
    told = subprocess.run([program("dciodvfy", "dicom3tools"), path], capture_output=True, text=True)
    assert "EncapsulatedSTL" in told.stderr + told.stdout
    assert "Error" not in told.stderr + told.stdout
