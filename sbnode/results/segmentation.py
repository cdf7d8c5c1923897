"""The DICOM Segmentations (PS3.3 A.51): bone on the slices of the source series, and on the fine grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless

from sbnode import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, __version__
from sbnode.errors import NoSkullBase
from sbnode.inference.bone import Bone
from sbnode.inference.volume import Volume
from sbnode.results.identity import Derivation
from sbnode.results.native import native_masks
from sbnode.results.segments import (
    CATEGORY_MEANINGS,
    CODING_SCHEME,
    INFERRED_LABEL,
    Segment,
    bone_segment,
    inferred_segment,
)
from sbnode.results.source import frame_of_reference_uid, inherit, read_header, result_series_number
from sbnode.results.uids import result_uid

__all__ = ["algorithm", "build", "build_fine", "build_label_map", "contributing_equipment", "native_masks", "stamp"]

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
    _reference_frames(segmentation, volume, frames.sources)
    _settle(segmentation, derivation, frames.role)
    _identify_frames(segmentation)
    # highdicom drops the spacing of a sheared stack, without which OHIF shows nothing, and puts the source's measures
    # in place of ours where the pixels are as large.
    segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = frames.measures
    inherit(segmentation, header)
    return segmentation


def contributing_equipment(derivation: Derivation) -> hd.ContributingEquipment:
    """Return the item of the Contributing Equipment Sequence that names this node and its model."""
    return hd.ContributingEquipment(
        manufacturer="sbnode",
        manufacturer_model_name="sbnode",
        software_versions=[__version__, f"{derivation.model.name} {derivation.model.version}"],
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        contribution_datetime=derivation.made_at,
        contribution_description="Segmentation of skull bone. Research, not a medical device.",
    )


def algorithm(derivation: Derivation, segment_number: int = 1) -> hd.AlgorithmIdentificationSequence:
    """Return the Algorithm Identification (PS3.3 table 10-19) of a segment.

    Certain bone is named after the model, inferred bone after the adaptive threshold that admitted it; each
    names the other's parameters. One item each: the standard permits more, but highdicom 0.28 then refuses to
    read the object.
    """
    model = {"model": derivation.model.name, "sha256": derivation.model.sha256, "region": derivation.region}
    threshold = {f"threshold_{name}": str(value) for name, value in derivation.threshold.model_dump().items()}
    if segment_number == INFERRED_LABEL:
        return hd.AlgorithmIdentificationSequence(
            name="sbnode adaptive threshold",
            family=codes.DCM.AdaptiveFiltering,
            version=__version__,
            source="sbnode",
            parameters={**threshold, **model, "model_version": derivation.model.version},
        )
    return hd.AlgorithmIdentificationSequence(
        name=derivation.model.name,
        family=codes.DCM.ArtificialIntelligence,
        version=derivation.model.version,
        source="sbnode",
        parameters={**model, **threshold},
    )


def _segmentation(frames: _Frames, volume: Volume, header: Dataset, derivation: Derivation) -> hd.seg.Segmentation:
    region = derivation.region
    segments = [bone_segment(region)]
    if (frames.labels == INFERRED_LABEL).any():
        segments.append(inferred_segment(region))
    settings = derivation.settings
    return hd.seg.Segmentation(
        source_images=[_shell(volume, k, header) for k in frames.sources],
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


def _shell(volume: Volume, k: int, header: Dataset) -> Dataset:
    """Return what highdicom needs to know of slice ``k``, as the header of a single-frame CT image.

    Patient and study are left empty here and taken over verbatim afterwards: highdicom refuses values that
    occur in the field and re-encodes the rest.
    """
    stack, instance, shell = volume.stack, volume.instances[k], Dataset()
    shell.SOPClassUID = CTImageStorage
    shell.SOPInstanceUID = _slice_uid(volume, k)
    shell.StudyInstanceUID = instance.key.study_instance_uid
    shell.SeriesInstanceUID = instance.key.series_instance_uid
    shell.FrameOfReferenceUID = frame_of_reference_uid(volume)
    shell.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    shell.Modality = "CT"
    shell.PatientID = shell.PatientName = shell.PatientBirthDate = shell.PatientSex = ""
    shell.AccessionNumber = shell.StudyID = ""
    shell.StudyDate = shell.StudyTime = None
    for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"):
        if header.get(keyword):
            setattr(shell, keyword, header.get(keyword))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in header:
            setattr(shell, keyword, header.get(keyword))
    shell.Rows, shell.Columns = stack.rows, stack.columns
    shell.SliceThickness = instance.slice_thickness_mm or 0.0
    shell.PixelSpacing = [stack.row_spacing_mm, stack.column_spacing_mm]
    shell.ImageOrientationPatient = [*stack.row_direction.tolist(), *stack.column_direction.tolist()]
    shell.ImagePositionPatient = stack.origins_mm[k].tolist()
    return shell


def _is_multiframe(volume: Volume) -> bool:
    return volume.instances[0].sop_class_uid != CTImageStorage


def _slice_uid(volume: Volume, k: int) -> str:
    """UID that names slice ``k`` while the object is built; for multi-frame sources replaced afterwards."""
    if _is_multiframe(volume):
        return result_uid(volume.instances[k].sop_instance_uid, f"slice.{k}")
    return volume.instances[k].sop_instance_uid


def _reference_frames(segmentation: Dataset, volume: Volume, slices: Sequence[int]) -> None:
    """Let a segmentation of a multi-frame source refer to instances and frame numbers (PS3.3 table 10-3)."""
    if not _is_multiframe(volume):
        return
    slice_of = {_slice_uid(volume, k): k for k in slices}
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        if not group.DerivationImageSequence:
            continue  # the frame lies on no source image
        item = group.DerivationImageSequence[0].SourceImageSequence[0]
        if item.ReferencedSOPInstanceUID not in slice_of:
            continue  # highdicom shares an item between the segments: done already
        k = slice_of[item.ReferencedSOPInstanceUID]
        instance = volume.instances[k]
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        item.ReferencedFrameNumber = volume.frames[k]
    references = []
    for uid in dict.fromkeys(i.sop_instance_uid for i in volume.instances):
        reference = Dataset()
        reference.ReferencedSOPClassUID = volume.instances[0].sop_class_uid
        reference.ReferencedSOPInstanceUID = uid
        references.append(reference)
    segmentation.SourceImageSequence = references
    segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references


def _identify_frames(segmentation: Dataset) -> None:
    """Give every frame its segment's number; with one segment highdicom shares it, where few readers look."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        for group in segmentation.PerFrameFunctionalGroupsSequence:
            group.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence


def stamp(result: Dataset, derivation: Derivation) -> None:
    """Name the software in the file, and set the dates that highdicom takes from the clock to that of the job."""
    made_at = derivation.made_at
    result.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    result.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    result.SeriesDate = result.InstanceCreationDate = made_at.strftime("%Y%m%d")
    result.SeriesTime = result.InstanceCreationTime = made_at.strftime("%H%M%S.%f")
    for item in result.get("ContributingEquipmentSequence", []):
        if item.get("ManufacturerModelName") == "highdicom":
            item.ContributionDateTime = made_at.strftime("%Y%m%d%H%M%S.%f")


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
