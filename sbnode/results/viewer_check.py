"""The last look at the objects before they are filed, on the files as they were written.

Every object: is it filed under the source's patient and study? The Segmentation: would every viewer show it, and at
the right place? What fails is not sent: a result that is filed wrongly, hidden or shifted is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

from sbnode.errors import UnsafeResult
from sbnode.inference.volume import Volume
from sbnode.results.source import frame_of_reference_uid, read_header

__all__ = ["require_filed_rightly", "require_viewable", "violations"]

PLACE_MM = 0.01
"""A frame lies on its source image to within this; Decimal Strings hold 16 characters."""
DIRECTION = 1e-4
MOST_SEGMENTS = 2
"""More segments make so many frames that a release of Weasis switched the object off."""
SAME_AS_SOURCE = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "SpecificCharacterSet",
)


def require_viewable(path: Path, volume: Volume) -> None:
    """Raise if the Segmentation in ``path``, made from ``volume``, breaks a rule.

    Raises:
        UnsafeResult: the message names every broken rule; it holds no patient data.
    """
    _require(path, violations(pydicom.dcmread(path), volume))


def require_filed_rightly(path: Path, volume: Volume) -> None:
    """Raise if the object in ``path``, made from ``volume``, would be filed under another patient or study.

    Raises:
        UnsafeResult: the message names every attribute that differs, and none of the values.
    """
    keywords = [*SAME_AS_SOURCE, "SeriesInstanceUID", "SeriesNumber"]
    _require(path, _identity(pydicom.dcmread(path, specific_tags=keywords), volume))


def _require(path: Path, violations: Iterable[str]) -> None:
    found = list(violations)
    if found:
        raise UnsafeResult(f"{path.name} would be shown or filed wrongly and is not sent: {'; '.join(found)}")


def violations(segmentation: Dataset, volume: Volume) -> Iterator[str]:
    """Yield what is wrong with a Segmentation on the slices of ``volume``, one line per rule."""
    yield from _encoding(segmentation, volume)
    yield from _identity(segmentation, volume)
    yield from _references(segmentation, volume)
    yield from _description(segmentation)
    if "PerFrameFunctionalGroupsSequence" not in segmentation or "SegmentSequence" not in segmentation:
        yield "it has no frames or no segments"
        return
    yield from _shared(segmentation, volume)
    yield from _frames(segmentation, volume)


def _encoding(segmentation: Dataset, volume: Volume) -> Iterator[str]:
    if segmentation.get("SOPClassUID") != SegmentationStorage or segmentation.get("SegmentationType") != "BINARY":
        yield "it is no BINARY Segmentation"
    if segmentation.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        yield "it isn't in Explicit VR Little Endian"
    if (segmentation.get("Rows"), segmentation.get("Columns")) != volume.stack.shape[1:]:
        yield f"rows and columns are not those of the source, {volume.stack.rows} x {volume.stack.columns}"
    pixels = int(segmentation.get("NumberOfFrames", 0)) * volume.stack.rows * volume.stack.columns
    if len(segmentation.get("PixelData", b"")) != 2 * math.ceil(pixels / 16):
        yield "Pixel Data is not one bit for each pixel of each frame"
    if len(segmentation.get("SegmentSequence", [])) > MOST_SEGMENTS:
        yield f"it has more than {MOST_SEGMENTS} segments"


def _identity(result: Dataset, volume: Volume) -> Iterator[str]:
    """Patient and study are the source's; the series is a new one."""
    header = read_header(volume)
    for keyword in SAME_AS_SOURCE:
        if (result.get(keyword) or "") != (header.get(keyword) or ""):
            yield f"{keyword} differs from the source"
    if result.get("SeriesInstanceUID") in (None, volume.instances[0].key.series_instance_uid):
        yield "it has no series of its own"
    if not result.get("SeriesNumber"):
        yield "Series Number is missing"


def _references(segmentation: Dataset, volume: Volume) -> Iterator[str]:
    """It lies in the source's Frame of Reference, and names the source series."""
    if segmentation.get("FrameOfReferenceUID") != frame_of_reference_uid(volume):
        yield "the Frame of Reference is not the source's"
    source = volume.instances[0].key.series_instance_uid
    referenced = [item.get("SeriesInstanceUID") for item in segmentation.get("ReferencedSeriesSequence", [])]
    if referenced != [source]:
        yield "Referenced Series Sequence doesn't name the source series alone"


def _description(segmentation: Dataset) -> Iterator[str]:
    for keyword in ("SeriesDescription", "ContentLabel", "ContentQualification", "ContributingEquipmentSequence"):
        if not segmentation.get(keyword):
            yield f"{keyword} is missing"
    for number, segment in enumerate(segmentation.get("SegmentSequence", []), start=1):
        if segment.get("SegmentNumber") != number:
            yield f"segment {number} has number {segment.get('SegmentNumber')}"
        for keyword in (
            "SegmentLabel",
            "RecommendedDisplayCIELabValue",
            "SegmentationAlgorithmIdentificationSequence",
            "SegmentedPropertyTypeCodeSequence",
        ):
            if not segment.get(keyword):
                yield f"segment {number} has no {keyword}"


def _shared(segmentation: Dataset, volume: Volume) -> Iterator[str]:
    """Orientation and pixel measures stand in the shared groups and fit the source."""
    shared = (segmentation.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    measures = (shared.get("PixelMeasuresSequence") or [Dataset()])[0]
    orientation = (shared.get("PlaneOrientationSequence") or [Dataset()])[0]
    for keyword in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
        if measures.get(keyword) is None:
            yield f"{keyword} is not in the shared groups"
    stack = volume.stack
    spacing = [float(v) for v in measures.get("PixelSpacing") or ()]
    if spacing and not np.allclose(spacing, (stack.row_spacing_mm, stack.column_spacing_mm), rtol=1e-5):
        yield "Pixel Spacing is not the source's"
    cosines = [float(v) for v in orientation.get("ImageOrientationPatient") or ()]
    if len(cosines) != 6:
        yield "Image Orientation is not in the shared groups"
    elif not np.allclose(cosines, [*stack.row_direction, *stack.column_direction], atol=DIRECTION):
        yield "Image Orientation is not the source's"


def _frames(segmentation: Dataset, volume: Volume) -> Iterator[str]:
    """One source image per frame, at the frame's place; without gaps, segment by segment, along the normal."""
    sources = {
        (instance.sop_instance_uid, frame): k
        for k, (instance, frame) in enumerate(zip(volume.instances, volume.frames, strict=True))
    }
    multiframe = volume.instances[0].sop_class_uid != CTImageStorage
    order: list[tuple[int, int]] = []
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        images = [s for d in group.get("DerivationImageSequence", []) for s in d.get("SourceImageSequence", [])]
        if len(images) != 1:
            yield f"frame {number} has {len(images)} source images, not one"
            return
        frame = images[0].get("ReferencedFrameNumber")
        if multiframe and frame is None:
            yield f"frame {number} names no frame of its source"
            return
        k = sources.get((images[0].get("ReferencedSOPInstanceUID"), int(frame or 1)))
        if k is None:
            yield f"frame {number} refers to an image that is not of the series"
            return
        position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        away_mm = float(np.linalg.norm(np.array(position) - volume.stack.origins_mm[k]))
        if away_mm > PLACE_MM:
            yield f"frame {number} lies {away_mm:.2f} mm from its source image"
            return
        order.append((int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber), k))
    yield from _order(order, len(segmentation.SegmentSequence))
    if int(segmentation.get("NumberOfFrames", 0)) != len(order):
        yield "Number of Frames is not that of the functional groups"


def _order(order: list[tuple[int, int]], segments: int) -> Iterator[str]:
    slices = sorted({k for _, k in order}, reverse=True)
    if slices != list(range(slices[0], slices[-1] - 1, -1)):
        yield "slices are missing between the first and the last"
    if order != [(segment, k) for segment in range(1, segments + 1) for k in slices]:
        yield "frames are not ordered by segment and along the normal, or are missing"
