"""Under whom a result is filed: the attributes of patient and study that it takes over from its source.

Digests stand for the values, so that they can be compared where no patient data may be.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, cast

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

__all__ = ["elements_digest", "filing_digest", "inherited_tags", "patient_digest", "tag_of"]

# Groups that describe the patient (0010) and the clinical trial or de-identification (0012) and nothing else.
_PATIENT_GROUPS = (0x0010, 0x0012)
# Clinical Trial Series module: it belongs to the source series, not to ours.
_SERIES_KEYWORDS = (
    "ClinicalTrialCoordinatingCenterName",
    "ClinicalTrialSeriesID",
    "ClinicalTrialSeriesDescription",
)
# The rest of the Patient, General Study and Patient Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2).
_STUDY_KEYWORDS = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "StudyInstanceUID",
    "StudyID",
    "RequestingService",
    "RequestingServiceCodeSequence",
    "ReasonForVisit",
    "ReasonForVisitCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "ServiceEpisodeDescription",
    "IssuerOfServiceEpisodeIDSequence",
    "PatientState",
)
_PATIENT_KEYWORDS = ("PatientID", "PatientName", "PatientBirthDate")


def tag_of(keyword: str) -> BaseTag:
    """Return the tag of an attribute.

    Raises:
        KeyError: there is no such keyword.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return Tag(tag)


_LEFT_OUT = frozenset(map(tag_of, _SERIES_KEYWORDS))
_STUDY_TAGS = frozenset(map(tag_of, _STUDY_KEYWORDS))


def inherited_tags(header: Dataset) -> list[BaseTag]:
    """Return the tags of ``header`` that describe patient and study, in its order."""
    return [
        tag
        for tag in header.keys()  # noqa: SIM118 - iterating the header itself would decode it
        if tag in _STUDY_TAGS or (tag.group in _PATIENT_GROUPS and tag not in _LEFT_OUT and tag.element != 0)
    ]


def filing_digest(header: Dataset) -> str:
    """Return the SHA-256, hexadecimal, of all that a result takes over from ``header``."""
    return elements_digest(header, inherited_tags(header))


def patient_digest(header: Dataset) -> str:
    """Return the SHA-256, hexadecimal, of Patient ID, Patient's Name and Patient's Birth Date.

    Two that differ only in case, padding or empty last components of the name are one patient (PS3.5 section 6.2.1,
    PS3.4 section C.2.2.2.1).
    """
    values = (str(header.get(keyword) or "").strip(" ^=").casefold() for keyword in _PATIENT_KEYWORDS)
    return sha256("\n".join(values).encode("utf-8", "surrogateescape")).hexdigest()


def elements_digest(header: Dataset, tags: Iterable[BaseTag]) -> str:
    """Return the SHA-256, hexadecimal, of the elements ``tags`` of ``header`` as they are written, without padding.

    Sequences are the same however their lengths are written (PS3.5 section 7.5): archives rewrite those.
    """
    digest = sha256()
    for tag in sorted(tags):
        element = cast(DataElement | RawDataElement, header.get_item(tag))
        content = _content(header[tag] if _is_sequence(element) else element)
        digest.update(b"%08x %d " % (tag, len(content)))
        digest.update(content)
    return digest.hexdigest()


def _is_sequence(element: DataElement | RawDataElement) -> bool:
    return (element.VR or (dictionary_has_tag(element.tag) and dictionary_VR(element.tag))) == "SQ"


def _content(element: DataElement | RawDataElement) -> bytes:
    value: Any = element.value
    if isinstance(value, bytes):
        return value.rstrip(b" \0")
    if element.VR == "SQ":
        return "".join(elements_digest(item, item.keys()) for item in value or ()).encode()
    return str("" if value is None else value).encode("utf-8", "surrogateescape")
