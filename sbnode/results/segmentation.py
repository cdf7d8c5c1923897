"""The DICOM Segmentations (PS3.3 A.51): bone on the slices of the source series, and on the fine grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from sbnode import __version__
from sbnode.errors import NoSkullBase
from sbnode.inference.bone import Bone
from sbnode.inference.volume import Volume
from sbnode.results.identity import Derivation
from sbnode.results.native import native_masks
from sbnode.results.origin import algorithm, contributing_equipment, stamp
from sbnode.results.segments import (
    CATEGORY_MEANINGS,
    CODING_SCHEME,
    INFERRED_LABEL,
    Segment,
    bone_segment,
    inferred_segment,
)
from sbnode.results.source import inherit, read_header, result_series_number
from sbnode.results.source_slices import reference_frames, slice_header
from sbnode.results.uids import result_uid

__all__ = ["build", "build_fine", "build_label_map", "native_masks"]

FINE_SERIES_STEP, LABEL_MAP_SERIES_STEP = 2000, 5000
"""Added to the Series Number, so that these series never have that of another source's segmentation or surface."""


def build(bone: Bone, volume: Volume, derivation: Derivation) -> Dataset:
    """Return the bone as a BINARY Segmentation on the source slices, in Explicit VR Little Endian.

    One frame per segment and slice, each with the one source image it lies on, from the first slice with bone
    to the last; empty frames between are kept, because viewers that assume even spacing displace a segment
    with gaps. Frames are ordered by segment, then against the normal of the slices (axial: from the top
    down). Without inferred bone there is one segment.

    Raises:
        NoSkullBase: no voxel of the source slices holds bone.
    """
    labels, slices = _on_slices(bone, volume)
    return _finished(_Frames(labels, slices, _pixel_measures(volume, slices)), volume, derivation)


def build_label_map(bone: Bone, volume: Volume, derivation: Derivation) -> Dataset:
    """Return the same segments on the same voxels as a Label Map Segmentation, RLE compressed: one frame per slice.

    Pixel values are the segments' numbers; 0 is no bone (PS3.3 C.8.20.2).

    Raises:
        NoSkullBase: no voxel of the source slices holds bone.
    """
    labels, slices = _on_slices(bone, volume)
    frames = _Frames(
        labels,
        slices,
        _pixel_measures(volume, slices),
        role="labelmap",
        title=" as label map",
        series_step=LABEL_MAP_SERIES_STEP,
        encoding=hd.seg.SegmentationTypeValues.LABELMAP,
    )
    return _finished(frames, volume, derivation)


def _on_slices(bone: Bone, volume: Volume) -> tuple[NDArray[np.uint8], range]:
    """Labels on the source slices from the first to the last with bone, and which slices those are."""
    certain, inferred = native_masks(bone, volume.stack)
    labels = certain.astype(np.uint8)
    labels[inferred] = INFERRED_LABEL
    filled = np.flatnonzero(labels.any(axis=(1, 2)))
    if not filled.size:
        raise NoSkullBase("no voxel of the source slices holds bone of the wanted region")
    slices = range(int(filled[0]), int(filled[-1]) + 1)
    return labels[slices.start : slices.stop], slices


def build_fine(bone: Bone, volume: Volume, derivation: Derivation) -> Dataset:
    """Return the bone as a BINARY Segmentation on the cells of the fine grid, for those who print or plan.

    The grid is orthogonal whatever the tilt and spacing of the source, has cubic cells, and lies in the same Frame of
    Reference. Frames are as in `build`; the object refers to the source images as a whole.

    Raises:
        NoSkullBase: no cell is bone.
    """
    grid, mask = bone.grid, bone.level > 0
    if not mask.any():
        raise NoSkullBase("the volume holds no bone of the wanted region")
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    labels = mask[box].astype(np.uint8)
    labels[bone.inferred[box]] = INFERRED_LABEL
    corners = np.array([[k, box[1].start, box[2].start] for k in range(box[0].start, box[0].stop)], np.float64)
    spacing_mm = grid.spacing_mm
    frames = _Frames(
        labels,
        range(len(volume.instances)),
        hd.PixelMeasuresSequence(
            pixel_spacing=(spacing_mm, spacing_mm), slice_thickness=spacing_mm, spacing_between_slices=spacing_mm
        ),
        role="fine",
        title=" on the fine grid",
        series_step=FINE_SERIES_STEP,
        place={
            "plane_orientation": hd.PlaneOrientationSequence(
                "PATIENT", [*grid.axes[2].tolist(), *grid.axes[1].tolist()]
            ),
            "plane_positions": [hd.PlanePositionSequence("PATIENT", c.tolist()) for c in grid.to_patient(corners)],
        },
    )
    return _finished(frames, volume, derivation)


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Labels (frame, row, column), the slices that they come from, and where they lie; empty: on those slices.

    ``role`` goes into the UIDs, ``title`` and ``series_step`` into what the series is called.
    """

    labels: NDArray[np.uint8]
    sources: range
    measures: hd.PixelMeasuresSequence
    role: str = "seg"
    title: str = ""
    series_step: int = 0
    encoding: hd.seg.SegmentationTypeValues = hd.seg.SegmentationTypeValues.BINARY
    place: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transfer_syntax(self) -> UID:
        """A label map holds a byte per voxel, nearly all 0."""
        return ExplicitVRLittleEndian if self.encoding is hd.seg.SegmentationTypeValues.BINARY else RLELossless


def _finished(frames: _Frames, volume: Volume, derivation: Derivation) -> Dataset:
    header = read_header(volume)
    segmentation = _segmentation(frames, volume, header, derivation)
    reference_frames(segmentation, volume, frames.sources)
    _settle(segmentation, derivation, frames.role)
    _identify_frames(segmentation)
    # highdicom drops the spacing of a sheared stack, without which OHIF shows nothing, and puts the source's measures
    # in place of ours where the pixels are as large.
    segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = frames.measures
    inherit(segmentation, header)
    return segmentation


def _segmentation(frames: _Frames, volume: Volume, header: Dataset, derivation: Derivation) -> hd.seg.Segmentation:
    region = derivation.region
    segments = [bone_segment(region)]
    if (frames.labels == INFERRED_LABEL).any():
        segments.append(inferred_segment(region))
    settings = derivation.settings
    return hd.seg.Segmentation(
        source_images=[slice_header(volume, k, header) for k in frames.sources],
        pixel_array=frames.labels,
        segmentation_type=frames.encoding,
        segment_descriptions=[_description(segment, derivation) for segment in segments],
        series_instance_uid=result_uid(derivation.job_key, f"{frames.role}.series"),
        series_number=result_series_number(volume, settings.series_number_offset + frames.series_step),
        sop_instance_uid=result_uid(derivation.job_key, f"{frames.role}.instance"),
        instance_number=1,
        manufacturer="sbnode",
        manufacturer_model_name="sbnode",
        software_versions=__version__,
        device_serial_number=derivation.model.sha256[:16],
        content_label="SKULL_BASE" if region == "skull_base" else "BONE",
        content_description=f"{segments[0].label} from CT, for research, not a medical device",
        transfer_syntax_uid=frames.transfer_syntax,
        pixel_measures=frames.measures,
        **frames.place,
        omit_empty_frames=False,
        contributing_equipment=[contributing_equipment(derivation)],
        series_description=f"{segments[0].label} segmentation{frames.title} ({settings.content_qualification})",
        content_date=derivation.made_at.date(),
        content_time=derivation.made_at.time(),
        coding_schemes=[CodingSchemeIdentificationItem(CODING_SCHEME, name="sbnode private concepts")],
    )


def _description(segment: Segment, derivation: Derivation) -> hd.seg.SegmentDescription:
    category = derivation.settings.category
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=Code(category, "SCT", CATEGORY_MEANINGS[category]),
        segmented_property_type=segment.code,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm(derivation, segment.number),
        tracking_id=f"{segment.label} {derivation.job_key[:12]}",
        tracking_uid=result_uid(derivation.job_key, f"segment.{segment.number}"),
        anatomic_regions=[segment.anatomic_region],
        display_color=CIELabColor.from_rgb(*segment.rgb),
    )
    description.SegmentDescription = segment.description
    return description


def _pixel_measures(volume: Volume, slices: range) -> hd.PixelMeasuresSequence:
    """Return the shared pixel measures.

    Spacing between slices is measured along the normal (PS3.3 C.7.6.16.2.1), so it holds for tilted series;
    where it is uneven, the median stands for it and every frame's own position is exact.
    """
    stack = volume.stack
    positions = stack.positions_mm
    used = positions[slices.start : slices.stop] if len(slices) > 1 else positions
    spacing_mm = float(np.median(np.diff(used))) if len(used) > 1 else 0.0
    thickness = [i.slice_thickness_mm for i in volume.instances if i.slice_thickness_mm]
    thickness_mm = float(np.median(thickness)) if thickness else spacing_mm
    return hd.PixelMeasuresSequence(
        pixel_spacing=(stack.row_spacing_mm, stack.column_spacing_mm),
        slice_thickness=thickness_mm,
        spacing_between_slices=spacing_mm or thickness_mm,
    )


def _identify_frames(segmentation: Dataset) -> None:
    """Give every frame its segment's number; with one segment highdicom shares it, where few readers look."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        for group in segmentation.PerFrameFunctionalGroupsSequence:
            group.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence


def _settle(segmentation: Dataset, derivation: Derivation, role: str) -> None:
    """Set what highdicom leaves out or takes from the clock and from random numbers."""
    stamp(segmentation, derivation)
    segmentation["PixelData"].VR = "OB"
    if "PixelPaddingValue" in segmentation:
        # Of a label map: 0, unsigned as its pixels. highdicom describes it as a segment too, whose (absent) colour OHIF
        # then gives to the first one.
        segmentation["PixelPaddingValue"].VR = "US"
        segmentation.SegmentSequence = [s for s in segmentation.SegmentSequence if s.SegmentNumber != 0]
    segmentation.ContentQualification = derivation.settings.content_qualification
    uid = result_uid(derivation.job_key, f"{role}.dimensions")
    for item in [*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence]:
        item.DimensionOrganizationUID = uid
