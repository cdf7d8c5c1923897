"""The Label Map Segmentation: the same voxels as the binary one, a byte each."""

from __future__ import annotations

from io import BytesIO

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from sbnode.results.segmentation import build, build_label_map
from tests.results.phantom import Scan, derivation, to_bytes


@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_it_holds_the_voxels_of_the_binary_one_at_the_same_places(case: str, request: pytest.FixtureRequest) -> None:
    scan: Scan = request.getfixturevalue(case)
    content = to_bytes(build_label_map(scan.bone, scan.volume, derivation()))
    read = pydicom.dcmread(BytesIO(content))
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert read.SegmentationType == "LABELMAP"
    assert read.file_meta.TransferSyntaxUID == RLELossless
    assert [s.SegmentLabel for s in read.SegmentSequence] == ["Skull base", "Inferred thin bone"]
    assert read.PixelPaddingValue == 0
    binary = build(scan.bone, scan.volume, derivation())
    frames = binary.pixel_array.reshape(2, -1, *binary.pixel_array.shape[1:])
    assert np.array_equal(read.pixel_array == 1, frames[0])
    assert np.array_equal(read.pixel_array == 2, frames[1])
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in read.PerFrameFunctionalGroupsSequence]
    expected = [
        group.PlanePositionSequence[0].ImagePositionPatient for group in binary.PerFrameFunctionalGroupsSequence
    ]
    assert places == expected[: len(places)]
    hd.seg.segread(BytesIO(content))


def test_it_is_an_object_of_its_own_in_the_same_study(scan: Scan) -> None:
    binary, labels = (make(scan.bone, scan.volume, derivation()) for make in (build, build_label_map))
    assert labels.StudyInstanceUID == binary.StudyInstanceUID
    assert labels.FrameOfReferenceUID == binary.FrameOfReferenceUID
    assert labels.SeriesInstanceUID != binary.SeriesInstanceUID
    assert labels.SOPInstanceUID != binary.SOPInstanceUID
    assert labels.ContentQualification == "RESEARCH"
    again = build_label_map(scan.bone, scan.volume, derivation())
    assert to_bytes(labels) == to_bytes(again)
