from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from sbnode.errors import UnsafeResult
from sbnode.results import capture
from sbnode.results.album import Page
from sbnode.results.segmentation import build
from sbnode.results.viewer_check import require_filed_rightly, require_viewable, violations
from tests.results.phantom import Scan, derivation, make_scan

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


def written(scan: Scan, folder: Path) -> Path:
    path = folder / "seg.dcm"
    build(scan.bone, scan.volume, derivation()).save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("tilt_degrees", [0.0, 18.5, -18.5])
def test_what_the_node_makes_passes(tmp_path: Path, tilt_degrees: float) -> None:
    scan = make_scan(tmp_path / "scan", tilt_degrees=tilt_degrees)
    require_viewable(written(scan, tmp_path), scan.volume)


def test_odd_sources_pass_too(tmp_path: Path) -> None:
    """Nothing that the node can read may be kept back for what the source looks like."""
    uneven = np.concatenate([np.arange(-14.0, 0.0, 1.0), np.arange(0.0, 14.0, 0.7)]).tolist()
    scans = [
        make_scan(tmp_path / "uneven", positions_mm=uneven),
        make_scan(tmp_path / "no frame of reference", FrameOfReferenceUID=None),
        make_scan(tmp_path / "empty", SeriesNumber=0, PatientID="", AccessionNumber=None, SpecificCharacterSet=None),
        make_scan(tmp_path / "latin", SpecificCharacterSet="ISO_IR 100", PatientName="M\u00fcller^J\u00fcrgen"),
    ]
    source = replace(scans[0].volume.instances[0], sop_class_uid=ENHANCED_CT, sop_instance_uid="1.2.3.4")
    count = len(scans[0].volume.instances)
    frames = replace(scans[0].volume, instances=(source,) * count, frames=tuple(range(count, 0, -1)))
    for scan in [*scans, replace(scans[0], volume=frames)]:
        require_viewable(written(scan, tmp_path), scan.volume)


def test_an_object_of_another_patient_is_kept_back(scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "preview.dcm"
    image = capture.build(Page("x", np.zeros((8, 8, 3), np.uint8)), 1, scan.volume, derivation())
    image.save_as(path, enforce_file_format=True)
    require_filed_rightly(path, scan.volume)
    image.PatientID = "SOMEBODY ELSE"
    image.StudyInstanceUID = "1.2.3"
    image.save_as(path, enforce_file_format=True)
    with pytest.raises(UnsafeResult, match=r"PatientID differs.*StudyInstanceUID differs") as caught:
        require_filed_rightly(path, scan.volume)
    assert "SOMEBODY" not in str(caught.value)


def frame(segmentation: Dataset, number: int) -> Dataset:
    group: Dataset = segmentation.PerFrameFunctionalGroupsSequence[number - 1]
    return group


def shift(segmentation: Dataset) -> None:
    frame(segmentation, 3).PlanePositionSequence[0].ImagePositionPatient[2] += 1.0


def two_sources(segmentation: Dataset) -> None:
    images = frame(segmentation, 2).DerivationImageSequence[0].SourceImageSequence
    images.append(images[0])


def foreign_source(segmentation: Dataset) -> None:
    frame(segmentation, 2).DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def gap(segmentation: Dataset) -> None:
    count = segmentation.NumberOfFrames // 2
    for number in (count + 5, 5):
        del segmentation.PerFrameFunctionalGroupsSequence[number - 1]
    segmentation.NumberOfFrames -= 2


def shuffled(segmentation: Dataset) -> None:
    groups = segmentation.PerFrameFunctionalGroupsSequence
    groups[0], groups[1] = groups[1], groups[0]


def deleted(keyword: str) -> Callable[[Dataset], None]:
    return lambda segmentation: segmentation.__delattr__(keyword)


def cleared(keyword: str, value: str) -> Callable[[Dataset], None]:
    return lambda segmentation: segmentation.__setattr__(keyword, value)


def without_spacing(segmentation: Dataset) -> None:
    del segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices


def other_pixels(segmentation: Dataset) -> None:
    segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.5]


def turned(segmentation: Dataset) -> None:
    segmentation.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [
        *(0, 1, 0),
        *(-1, 0, 0),
    ]


def short(segmentation: Dataset) -> None:
    segmentation.PixelData = segmentation.PixelData[:-64]


def colourless(segmentation: Dataset) -> None:
    del segmentation.SegmentSequence[1].RecommendedDisplayCIELabValue


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (shift, "frame 3 lies 1.00 mm from its source image"),
        (two_sources, "frame 2 has 2 source images, not one"),
        (foreign_source, "frame 2 refers to an image that is not of the series"),
        (gap, "slices are missing between the first and the last"),
        (shuffled, "frames are not ordered"),
        (cleared("FrameOfReferenceUID", "1.2.3"), "the Frame of Reference is not the source's"),
        (cleared("PatientID", "SOMEBODY ELSE"), "PatientID differs from the source"),
        (cleared("SegmentationType", "FRACTIONAL"), "it is no BINARY Segmentation"),
        (cleared("Rows", 63), "rows and columns are not those of the source, 64 x 72"),
        (deleted("ReferencedSeriesSequence"), "Referenced Series Sequence"),
        (short, "Pixel Data is not one bit for each pixel"),
        (deleted("ContentQualification"), "ContentQualification is missing"),
        (deleted("SeriesNumber"), "Series Number is missing"),
        (without_spacing, "SpacingBetweenSlices is not in the shared groups"),
        (other_pixels, "Pixel Spacing is not the source's"),
        (turned, "Image Orientation is not the source's"),
        (colourless, "segment 2 has no RecommendedDisplayCIELabValue"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:30],
)
def test_each_broken_rule_is_named_and_the_object_kept_back(
    scan: Scan, tmp_path: Path, broken: Callable[[Dataset], None], says: str
) -> None:
    path = written(scan, tmp_path)
    segmentation = pydicom.dcmread(path)
    broken(segmentation)
    assert any(says in line for line in violations(segmentation, scan.volume))
    segmentation.save_as(path, enforce_file_format=True)
    with pytest.raises(UnsafeResult, match="not sent") as caught:
        require_viewable(path, scan.volume)
    assert says in str(caught.value)
    assert "SOMEBODY" not in str(caught.value)
