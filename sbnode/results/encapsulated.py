"""The printable surface as a DICOM object: Encapsulated STL (PS3.3 A.104, modules C.24.2 and C.35.1)."""

from __future__ import annotations

import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage, EncapsulatedSTLStorage, ExplicitVRLittleEndian

from sbnode import __version__
from sbnode.inference.volume import Volume
from sbnode.results.identity import Derivation
from sbnode.results.origin import algorithm, contributing_equipment, stamp
from sbnode.results.segments import bone_segment
from sbnode.results.source import frame_of_reference_uid, inherit, read_header, result_series_number
from sbnode.results.uids import result_uid

__all__ = ["STL_SERIES_STEP", "build", "source_instances"]

STL_SERIES_STEP = 1000
"""The STL's Series Number lies this much above the segmentation's: a series holds one modality."""

_MILLIMETRE = Code("mm", "UCUM", "millimeter")
_CONCEPT = Code("85040-4", "LN", "CT 3D CAM model")
_USAGE = Code("129012", "DCM", "Educational Intent")


def build(stl: bytes, volume: Volume, derivation: Derivation, icon: NDArray[np.uint8] | None = None) -> Dataset:
    """Return ``stl`` as an Encapsulated STL object in Explicit VR Little Endian.

    Args:
        stl: binary STL in LPS patient mm.
        volume: the source series.
        derivation: what the object says of its origin.
        icon: picture of the model, grey values 0..255, at most 128 x 128 (PS3.3 C.7.6.1.1.6).

    Raises:
        ValueError: the STL is empty or of odd length.
    """
    if not stl or len(stl) % 2:
        raise ValueError("binary STL has an even length over 0")
    header = read_header(volume)
    document = Dataset()
    _common(document, derivation)
    _series(document, volume, derivation)
    _encapsulated_document(document, stl, volume, header)
    _model(document, derivation, icon)
    _references(document, volume)
    document.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    inherit(document, header)
    return document


def _common(document: Dataset, derivation: Derivation) -> None:
    """SOP Common and Enhanced General Equipment modules (PS3.3 C.12.1, C.7.5.2)."""
    uid = UID(result_uid(derivation.job_key, "stl.instance"))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EncapsulatedSTLStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.file_meta = meta
    document.SOPClassUID = EncapsulatedSTLStorage
    document.SOPInstanceUID = uid
    document.InstanceNumber = 1
    stamp(document, derivation)
    document.ContentDate, document.ContentTime = document.SeriesDate, document.SeriesTime
    document.ContentQualification = derivation.settings.content_qualification
    document.ContributingEquipmentSequence = [contributing_equipment(derivation)]
    document.Manufacturer = document.ManufacturerModelName = "sbnode"
    document.DeviceSerialNumber = derivation.model.sha256[:16]
    document.SoftwareVersions = __version__


def _series(document: Dataset, volume: Volume, derivation: Derivation) -> None:
    """Encapsulated Document Series and Frame of Reference modules (PS3.3 C.24.1, C.7.4.1)."""
    settings = derivation.settings
    label = bone_segment(derivation.region).label
    document.Modality = "M3D"
    document.SeriesInstanceUID = result_uid(derivation.job_key, "stl.series")
    offset = settings.series_number_offset + STL_SERIES_STEP
    document.SeriesNumber = result_series_number(volume, offset)
    document.SeriesDescription = f"{label} surface ({settings.content_qualification})"
    document.FrameOfReferenceUID = frame_of_reference_uid(volume)
    document.DocumentTitle = f"{label} surface, mm, LPS"
    document.ContentDescription = f"{label} surface. Research, not a medical device."
    # The facial skeleton gives a face away; the skull base doesn't.
    document.RecognizableVisualFeatures = "YES" if derivation.region == "all_bone" else "NO"


def _encapsulated_document(document: Dataset, stl: bytes, volume: Volume, header: Dataset) -> None:
    """Encapsulated Document module (PS3.3 C.24.2)."""
    acquired = header.get("AcquisitionDateTime") or ""
    if not acquired and header.get("AcquisitionDate"):
        acquired = f"{header.AcquisitionDate}{header.get('AcquisitionTime') or ''}"
    document.AcquisitionDateTime = acquired
    document.BurnedInAnnotation = "NO"
    document.ConceptNameCodeSequence = [_item(_CONCEPT)]
    document.MIMETypeOfEncapsulatedDocument = "model/stl"
    document.EncapsulatedDocument = stl
    document.EncapsulatedDocumentLength = len(stl)
    document.SourceInstanceSequence = source_instances(volume)


def _model(document: Dataset, derivation: Derivation, icon: NDArray[np.uint8] | None) -> None:
    """Manufacturing 3D Model module (PS3.3 C.35.1)."""
    document.MeasurementUnitsCodeSequence = [_item(_MILLIMETRE)]
    document.ModelModification = "NO"
    document.ModelMirroring = "NO"
    document.ModelUsageCodeSequence = [_item(_USAGE)]
    document.ModelGroupUID = result_uid(derivation.job_key, "stl.group")
    document.DerivationAlgorithmSequence = list(algorithm(derivation))
    colour = CIELabColor.from_rgb(*bone_segment(derivation.region).rgb)
    document.RecommendedDisplayCIELabValue = list(colour.value)
    document.RecommendedPresentationOpacity = 1.0
    if icon is not None:
        document.IconImageSequence = [_icon(icon)]


def _references(document: Dataset, volume: Volume) -> None:
    """Common Instance Reference module (PS3.3 C.12.2)."""
    series = Dataset()
    series.SeriesInstanceUID = volume.instances[0].key.series_instance_uid
    series.ReferencedInstanceSequence = source_instances(volume)
    document.ReferencedSeriesSequence = [series]


def source_instances(volume: Volume) -> list[Dataset]:
    """Return an item per source instance, with its frames where it has several (PS3.3 table 10-3)."""
    frames: dict[tuple[str, str], list[int]] = {}
    for instance, frame in zip(volume.instances, volume.frames, strict=True):
        frames.setdefault((instance.sop_class_uid, instance.sop_instance_uid), []).append(frame)
    references = []
    for (sop_class_uid, sop_instance_uid), numbers in frames.items():
        reference = Dataset()
        reference.ReferencedSOPClassUID = sop_class_uid
        reference.ReferencedSOPInstanceUID = sop_instance_uid
        if sop_class_uid != CTImageStorage:
            reference.ReferencedFrameNumber = sorted(numbers)
        references.append(reference)
    return references


def _icon(picture: NDArray[np.uint8]) -> Dataset:
    item = Dataset()
    item.SamplesPerPixel = 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.Rows, item.Columns = picture.shape
    item.BitsAllocated = item.BitsStored = 8
    item.HighBit = 7
    item.PixelRepresentation = 0
    pixels = picture.tobytes()
    item.add_new("PixelData", "OB", pixels + b"\0" * (len(pixels) % 2))
    return item


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
