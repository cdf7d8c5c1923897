"""What a result takes over from its source series: patient, study, frame of reference, equipment."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from sbnode.filing import inherited_tags, tag_of
from sbnode.inference.volume import Volume
from sbnode.results.uids import result_uid

__all__ = ["frame_of_reference_uid", "inherit", "read_header", "result_series_number"]

_TYPE_2_KEYWORDS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
# Value representations whose bytes are the same in every transfer syntax (PS3.5 section 6.2 and 7.3).
_TEXT_VRS = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)


def read_header(volume: Volume) -> Dataset:
    """Return the header of the series' first slice, without pixel data."""
    return pydicom.dcmread(volume.instances[0].path, stop_before_pixels=True)


def inherit(target: Dataset, header: Dataset) -> None:
    """Put the patient and study attributes of ``header`` into ``target``, replacing what is there.

    Text keeps its bytes, Specific Character Set included, so that a PACS files the result under the same
    patient. A missing attribute of type 2 becomes empty; no value is ever made up.
    """
    for tag in inherited_tags(header):
        target[tag] = _verbatim(header, tag)
    for keyword in _TYPE_2_KEYWORDS:
        if tag_of(keyword) not in target:
            setattr(target, keyword, None)
    if "SpecificCharacterSet" not in header and "SpecificCharacterSet" in target:
        del target.SpecificCharacterSet
    # Raw elements are written as they are, and decoded with the character set that they were read with.
    target.set_original_encoding(False, True, cast(Any, header.original_character_set))


def frame_of_reference_uid(volume: Volume) -> str:
    """Return the Frame of Reference UID of the series; one derived from its UID when the source has none."""
    instance = volume.instances[0]
    derived = result_uid(instance.key.series_instance_uid, "frame-of-reference")
    return instance.frame_of_reference_uid or derived


def result_series_number(volume: Volume, offset: int) -> int:
    """Return the source's Series Number plus ``offset``, at least 1; the offset itself when it has none."""
    return max(1, (volume.instances[0].series_number or 0) + offset)


def _verbatim(header: Dataset, tag: BaseTag) -> DataElement | RawDataElement:
    """Return the element as stored where its bytes are the same in every transfer syntax, else converted."""
    element = cast(DataElement | RawDataElement, header.get_item(tag))
    if isinstance(element, RawDataElement):
        vr = element.VR or _dictionary_vr(tag)
        if vr in _TEXT_VRS:
            value = _padded(element.value or b"", vr)
            return element._replace(VR=vr, value=value, is_implicit_VR=False, is_little_endian=True)
    converted = deepcopy(header[tag])
    if converted.VR == "SQ":
        for item in converted.value:
            list(item.iterall())  # decodes nested values, which may be big endian
    return converted


def _padded(value: bytes, vr: str) -> bytes:
    """Text is padded with a space (PS3.5 section 6.2); some writers pad with NUL, which belongs to UIDs alone."""
    if vr == "UI" or not value.endswith(b"\0"):
        return value
    text = value.rstrip(b"\0")
    return text + b" " * (len(text) % 2)


def _dictionary_vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
