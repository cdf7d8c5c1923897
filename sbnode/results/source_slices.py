"""The source slices of a Segmentation: what highdicom is told of each, and how its frames refer to them."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from sbnode.inference.volume import Volume
from sbnode.results.source import frame_of_reference_uid
from sbnode.results.uids import result_uid

__all__ = ["reference_frames", "slice_header"]


def slice_header(volume: Volume, k: int, header: Dataset) -> Dataset:
    """Return what highdicom needs to know of slice ``k``, as the header of a single-frame CT image.

    Patient and study are left empty here and taken over verbatim afterwards: highdicom refuses values that
    occur in the field and re-encodes the rest.
    """
    stack, instance, made = volume.stack, volume.instances[k], Dataset()
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = _slice_uid(volume, k)
    made.StudyInstanceUID = instance.key.study_instance_uid
    made.SeriesInstanceUID = instance.key.series_instance_uid
    made.FrameOfReferenceUID = frame_of_reference_uid(volume)
    made.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    made.Modality = "CT"
    made.PatientID = made.PatientName = made.PatientBirthDate = made.PatientSex = ""
    made.AccessionNumber = made.StudyID = ""
    made.StudyDate = made.StudyTime = None
    for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"):
        if header.get(keyword):
            setattr(made, keyword, header.get(keyword))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in header:
            setattr(made, keyword, header.get(keyword))
    made.Rows, made.Columns = stack.rows, stack.columns
    made.SliceThickness = instance.slice_thickness_mm or 0.0
    made.PixelSpacing = [stack.row_spacing_mm, stack.column_spacing_mm]
    made.ImageOrientationPatient = [*stack.row_direction.tolist(), *stack.column_direction.tolist()]
    made.ImagePositionPatient = stack.origins_mm[k].tolist()
    return made


def _is_multiframe(volume: Volume) -> bool:
    return volume.instances[0].sop_class_uid != CTImageStorage


def _slice_uid(volume: Volume, k: int) -> str:
    """UID that names slice ``k`` while the object is built; for multi-frame sources replaced afterwards."""
    if _is_multiframe(volume):
        return result_uid(volume.instances[k].sop_instance_uid, f"slice.{k}")
    return volume.instances[k].sop_instance_uid


def reference_frames(segmentation: Dataset, volume: Volume, slices: Sequence[int]) -> None:
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
