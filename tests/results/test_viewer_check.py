from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from sbnode.errors import UnsafeResult
from sbnode.results.segmentation import build
from sbnode.results.viewer_check import require_viewable, violations
from tests.results.phantom import Scan, derivation, make_scan


def written(scan: Scan, folder: Path) -> Path:
    path = folder / "seg.dcm"
    build(scan.bone, scan.volume, derivation()).save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("tilt_degrees", [0.0, 18.5, -18.5])
def test_what_the_node_makes_passes(tmp_path: Path, tilt_degrees: float) -> None:
    scan = make_scan(tmp_path / "scan", tilt_degrees=tilt_degrees)
    require_viewable(written(scan, tmp_path), scan.volume)


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
