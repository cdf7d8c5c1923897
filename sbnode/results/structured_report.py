"""The measurements as a DICOM Structured Report: TID 1500 (PS3.16) in a Comprehensive 3D SR (PS3.3 A.35.13).

A reader opens it first: it names the segmentation and the surface, and says what is known about both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from sbnode import __version__
from sbnode.inference.bone import Finding, Foramen
from sbnode.inference.quality import Quality
from sbnode.inference.volume import Volume
from sbnode.results.identity import Derivation
from sbnode.results.origin import contributing_equipment, stamp
from sbnode.results.report import NOTICE, Report
from sbnode.results.segments import CODING_SCHEME, bone_segment
from sbnode.results.source import frame_of_reference_uid, inherit, read_header, result_series_number
from sbnode.results.uids import result_uid

__all__ = ["REPORT_SERIES_STEP", "build"]

REPORT_SERIES_STEP = 3000
"""Added to the Series Number, which no other object of the bundle then has."""

_LABEL = "SBN-"
_INFERRED_SHARE = Code("SBN-INFERRED", CODING_SCHEME, "Inferred share of the bone")
_THINNEST = Code("SBN-THINNEST", CODING_SCHEME, "Thinnest plate of bone that the scan shows")
_BONE = Code("SBN-BONE", CODING_SCHEME, "All bone, on the fine grid")
_SLICE = Code("SBN-SLICE", CODING_SCHEME, "Slice thickness, or the slice step where that is larger")
_BLUR = Code("SBN-FWHM", CODING_SCHEME, "Full width at half maximum of the point spread in the slice")
_NOISE = Code("SBN-NOISE", CODING_SCHEME, "Standard deviation of the noise in soft tissue")
_SURFACE = Code("SBN-SURFACE", CODING_SCHEME, "Printable surface")
_FLAG = Code("SBN-FLAG", CODING_SCHEME, "Quality flag")
_FINDING = Code("SBN-FINDING", CODING_SCHEME, "Finding about the series")
_SCAN = Code("SBN-SCAN", CODING_SCHEME, "What the scan resolves")
_OPENING = Code("SBN-OPENING", CODING_SCHEME, "Named opening of the skull base")
_FREE_CIRCLE = Code("SBN-CALIBRE", CODING_SCHEME, "Largest free circle in the narrowest section")
_STATE = Code("SBN-STATE", CODING_SCHEME, "State of the opening")
_STATES = {
    "open": Code("SBN-OPEN", CODING_SCHEME, "Open"),
    "not resolvable at this slice thickness": Code(
        "SBN-COARSE", CODING_SCHEME, "Not resolvable at this slice thickness"
    ),
}
_SITES = {
    "foramen magnum": codes.SCT.ForamenMagnum,
    "foramen ovale": Code("SBN-OVALE", CODING_SCHEME, "Foramen ovale of sphenoid bone"),
    "foramen rotundum": Code("SBN-ROTUNDUM", CODING_SCHEME, "Foramen rotundum"),
    "carotid canal": Code("SBN-CAROTID", CODING_SCHEME, "Carotid canal"),
    "internal acoustic meatus": codes.SCT.InternalAuditoryCanal,
    "jugular foramen": Code("SBN-JUGULAR", CODING_SCHEME, "Jugular foramen"),
    "hypoglossal canal": Code("SBN-HYPOGLOSSAL", CODING_SCHEME, "Hypoglossal canal"),
}
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}
_MILLILITRE = Code("mL", "UCUM", "milliliter")
_MOST_MEANING = 64
"""Characters in a Code Meaning (value representation LO)."""


def build(report: Report, segmentation: Dataset, surface: Dataset, volume: Volume, derivation: Derivation) -> Dataset:
    """Return the report of a job as a Comprehensive 3D SR in Explicit VR Little Endian.

    Args:
        report: what is known.
        segmentation: the Segmentation on the source slices; each of its segments gets a measurement group.
        surface: the Encapsulated STL.
        volume: the source series.
        derivation: what the object says of its origin.
    """
    header = read_header(volume)
    settings = derivation.settings
    sources = [_shell(volume, uid, sop_class) for uid, sop_class in _instances(volume)]
    document = hd.sr.Comprehensive3DSR(
        evidence=[*sources, segmentation, surface],
        content=_content(report, segmentation, surface, volume, derivation),
        series_instance_uid=result_uid(derivation.job_key, "sr.series"),
        series_number=result_series_number(volume, settings.series_number_offset + REPORT_SERIES_STEP),
        sop_instance_uid=result_uid(derivation.job_key, "sr.instance"),
        instance_number=1,
        manufacturer="sbnode",
        is_complete=True,
        contributing_equipment=[contributing_equipment(derivation)],
        series_description=f"{bone_segment(derivation.region).label} measurements ({settings.content_qualification})",
        manufacturer_model_name="sbnode",
        software_versions=__version__,
        device_serial_number=derivation.model.sha256[:16],
        coding_schemes=[CodingSchemeIdentificationItem(CODING_SCHEME, name="sbnode private concepts")],
    )
    stamp(document, derivation)
    document.ContentDate, document.ContentTime = document.SeriesDate, document.SeriesTime
    inherit(document, header)
    return document


def _content(
    report: Report, segmentation: Dataset, surface: Dataset, volume: Volume, derivation: Derivation
) -> hd.sr.MeasurementReport:
    """The content tree: a group per segment and per opening, one about the scan, then the surface and the notice."""
    segments = [_segment(item, segmentation, volume, derivation) for item in segmentation.SegmentSequence]
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=_observer(derivation)),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[
            *segments,
            _whole(report, derivation),
            *(_opening(foramen, volume, derivation) for foramen in report.foramina),
            _scan(report.quality, report.flags, report.findings, derivation),
        ],
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            language=hd.sr.CodedConcept("en", "RFC5646", "English")
        ),
    )
    root = content[0].ContentSequence
    root.append(
        hd.sr.CompositeContentItem(
            name=_SURFACE,
            referenced_sop_class_uid=surface.SOPClassUID,
            referenced_sop_instance_uid=surface.SOPInstanceUID,
            relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
        )
    )
    root.append(_comment(NOTICE))
    return content


def _segment(
    item: Dataset, segmentation: Dataset, volume: Volume, derivation: Derivation
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Volume and mean HU of the voxels of one segment (TID 1411)."""
    number = int(item.SegmentNumber)
    millilitres, mean_hu = _measured(segmentation, number, volume)
    measurements = [hd.sr.Measurement(name=codes.SCT.Volume, value=round(millilitres, 2), unit=_MILLILITRE)]
    if mean_hu is not None:
        measurements.append(
            hd.sr.Measurement(
                name=codes.DCM.XRayAttenuation,
                value=round(mean_hu, 1),
                unit=codes.UCUM.HounsfieldUnit,
                derivation=codes.SCT.Mean,
            )
        )
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    identification = item.SegmentationAlgorithmIdentificationSequence[0]
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=item.TrackingUID, identifier=item.TrackingID),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(volume.instances[0].key.series_instance_uid),
        ),
        finding_type=Code(kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning),
        finding_sites=[hd.sr.FindingSite(bone_segment(derivation.region).anatomic_region)],
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=identification.AlgorithmName,
            version=identification.AlgorithmVersion,
            parameters=str(identification.AlgorithmParameters).split(","),
        ),
        measurements=measurements,
    )


def _whole(report: Report, derivation: Derivation) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Volume and inferred share of all bone on the fine grid, which the surface is made from (TID 1501)."""
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=result_uid(derivation.job_key, "bone"), identifier=f"Bone {derivation.job_key[:12]}"
        ),
        finding_type=_BONE,
        finding_sites=[hd.sr.FindingSite(bone_segment(derivation.region).anatomic_region)],
        measurements=[
            hd.sr.Measurement(name=codes.SCT.Volume, value=round(report.volume_ml, 2), unit=_MILLILITRE),
            hd.sr.Measurement(
                name=_INFERRED_SHARE, value=round(100 * report.inferred_share, 2), unit=codes.UCUM.Percent
            ),
        ],
    )


def _opening(foramen: Foramen, volume: Volume, derivation: Derivation) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Calibre and place of a named opening, or that the scan doesn't resolve it (TID 1501)."""
    title = f"{foramen.name} {foramen.side}".strip()
    measurements = []
    if foramen.calibre_mm is not None and foramen.place_mm is not None:
        place = hd.sr.CoordinatesForMeasurement3D(
            graphic_type=hd.sr.GraphicTypeValues3D.POINT,
            graphic_data=np.array([foramen.place_mm]),
            frame_of_reference_uid=frame_of_reference_uid(volume),
        )
        measurements.append(
            hd.sr.Measurement(
                name=codes.SCT.Diameter,
                value=foramen.calibre_mm,
                unit=codes.UCUM.Millimeter,
                method=_FREE_CIRCLE,
                referenced_coordinates=[place],
            )
        )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=result_uid(derivation.job_key, f"opening.{title}"), identifier=f"{title} {derivation.job_key[:12]}"
        ),
        finding_type=_OPENING,
        finding_sites=[hd.sr.FindingSite(_SITES[foramen.name], laterality=_SIDES.get(foramen.side))],
        measurements=measurements,
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(name=_STATE, value=_STATES[foramen.state])],
    )


def _scan(
    quality: Quality, flags: Sequence[Finding], findings: Sequence[Finding], derivation: Derivation
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """What the scan resolves, and what to look at before the result is used (TID 1501)."""
    millimetre = codes.UCUM.Millimeter
    measured = [
        (_SLICE, quality.slice_mm, millimetre),
        (_THINNEST, quality.thinnest_plate_mm, millimetre),
        (_BLUR, quality.fwhm_mm, millimetre),
        (_NOISE, quality.noise_hu, codes.UCUM.HounsfieldUnit),
    ]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=result_uid(derivation.job_key, "scan"), identifier=f"Scan {derivation.job_key[:12]}"
        ),
        finding_type=_SCAN,
        measurements=[
            hd.sr.Measurement(name=name, value=round(value, 2), unit=unit) for name, value, unit in measured if value
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(name=name, value=_coded(finding))
            for name, found in ((_FLAG, flags), (_FINDING, findings))
            for finding in found
        ],
    )
    for finding in (*flags, *findings):
        group[0].ContentSequence.append(_comment(finding.message))
    return group


def _coded(finding: Finding) -> Code:
    """A finding's short label as a private code: its words are its meaning; the message stands in a comment."""
    value = (_LABEL + finding.code.upper().replace("_", "-"))[:16]
    return Code(value, CODING_SCHEME, finding.code.replace("_", " ")[:_MOST_MEANING])


def _comment(text: str) -> hd.sr.TextContentItem:
    return hd.sr.TextContentItem(
        name=codes.DCM.Comment, value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
    )


def _observer(derivation: Derivation) -> hd.sr.ObserverContext:
    return hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=result_uid("sbnode", f"device.{derivation.model.sha256}"),
            name="sbnode",
            manufacturer_name="sbnode",
            model_name=f"sbnode {__version__}, {derivation.model.name} {derivation.model.version}",
            serial_number=derivation.model.sha256[:16],
        ),
    )


def _measured(segmentation: Dataset, number: int, volume: Volume) -> tuple[float, float | None]:
    """Volume in mL and mean HU of the source voxels of a segment; no mean where it has none.

    A slice counts for the mean of the steps to its neighbours along the normal.
    """
    slice_of = {
        (instance.sop_instance_uid, frame): k
        for k, (instance, frame) in enumerate(zip(volume.instances, volume.frames, strict=True))
    }
    stack = volume.stack
    voxels_ml = np.gradient(stack.positions_mm) * stack.row_spacing_mm * stack.column_spacing_mm / 1000
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    total_hu, count, millilitres = 0.0, 0, 0.0
    for frame, group in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number or not frame.any():
            continue
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        at = slice_of[source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber", 1))]
        values = volume.hu[at][frame > 0]
        total_hu, count = total_hu + float(values.sum(dtype=np.float64)), count + values.size
        millilitres += values.size * float(voxels_ml[at])
    return millilitres, total_hu / count if count else None


def _instances(volume: Volume) -> Iterable[tuple[str, str]]:
    return dict.fromkeys((i.sop_instance_uid, i.sop_class_uid) for i in volume.instances)


def _shell(volume: Volume, sop_instance_uid: str, sop_class_uid: str) -> Dataset:
    """Return what highdicom needs to know of a source instance; patient and study are taken over afterwards."""
    key = volume.instances[0].key
    shell = Dataset()
    shell.SOPClassUID, shell.SOPInstanceUID = sop_class_uid, sop_instance_uid
    shell.StudyInstanceUID, shell.SeriesInstanceUID = key.study_instance_uid, key.series_instance_uid
    shell.PatientID = shell.PatientName = shell.PatientBirthDate = shell.PatientSex = ""
    shell.AccessionNumber = shell.StudyID = ""
    shell.StudyDate = shell.StudyTime = None
    return shell
