"""The preview series: Secondary Captures (PS3.3 A.8), for viewers that show neither a Segmentation nor an STL."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from sbnode import __version__
from sbnode.inference.volume import Volume
from sbnode.results.album import Page
from sbnode.results.encapsulated import source_instances
from sbnode.results.identity import Derivation
from sbnode.results.origin import contributing_equipment, stamp
from sbnode.results.report import NOTICE
from sbnode.results.segments import bone_segment
from sbnode.results.source import inherit, read_header, result_series_number
from sbnode.results.uids import result_uid

__all__ = ["CAPTURE_SERIES_STEP", "build"]

CAPTURE_SERIES_STEP = 4000
"""Added to the Series Number, which no other object of the bundle then has."""


def build(page: Page, number: int, volume: Volume, derivation: Derivation) -> Dataset:
    """Return a picture of the preview series as a Secondary Capture Image in Explicit VR Little Endian.

    Args:
        page: the picture; its words are part of it, and none is about the patient.
        number: its place in the series, from 1.
        volume: the source series.
        derivation: what the object says of its origin.
    """
    label = bone_segment(derivation.region).label
    settings = derivation.settings
    key = volume.instances[0].key
    image = hd.sc.SCImage(
        pixel_array=page.image,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        study_instance_uid=key.study_instance_uid,
        series_instance_uid=result_uid(derivation.job_key, "preview.series"),
        series_number=result_series_number(volume, settings.series_number_offset + CAPTURE_SERIES_STEP),
        sop_instance_uid=result_uid(derivation.job_key, f"preview.{number}"),
        instance_number=number,
        manufacturer="sbnode",
        manufacturer_model_name="sbnode",
        software_versions=__version__,
        device_serial_number=derivation.model.sha256[:16],
        series_description=f"{label} preview ({settings.content_qualification})",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        contributing_equipment=[contributing_equipment(derivation)],
    )
    image.ConversionType = "WSD"  # drawn by a computer (PS3.3 C.8.6.1); highdicom says "digital interface"
    image["PixelData"].VR = "OB"
    image.PatientOrientation = []  # the views differ; each shows its own letters
    image.Laterality = ""
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.DerivationDescription = f"{label}: {page.title}"
    image.ImageComments = NOTICE
    image.BurnedInAnnotation = "NO"
    image.RecognizableVisualFeatures = "YES" if derivation.region == "all_bone" else "NO"
    image.SourceImageSequence = source_instances(volume)
    stamp(image, derivation)
    image.ContentDate = image.DateOfSecondaryCapture = image.SeriesDate
    image.ContentTime = image.TimeOfSecondaryCapture = image.SeriesTime
    inherit(image, read_header(volume))
    return image
