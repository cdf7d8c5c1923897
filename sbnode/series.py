"""Frozen value types of what is received: one instance's header facts, and the series that instances make."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from sbnode.filing import filing_digest, patient_digest, tag_of

__all__ = ["PARSER_FAULTS", "Instance", "Series", "SeriesKey", "instance_of", "is_uid", "read_file", "read_instance"]

PARSER_FAULTS = (
    ValueError,  # with UnicodeDecodeError
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    OSError,  # raised by pydicom for data that ends too early
    NotImplementedError,  # an unknown VR
    RecursionError,  # sequences nested without end
    struct.error,
    zlib.error,
    BytesLengthException,
)
"""What pydicom raises on a malformed data set; found by fuzzing. Reading one has no other side effect."""

# PS3.5 section 9.1 allows digits and dots, 64 characters. Leading zeros occur in the field and are harmless here;
# what matters is that a UID can name a file.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_MAX_CHARACTERS = 64
_PLAIN_VRS = frozenset({"CS", "DS", "IS", "LO", "SH", "UI"})
_tag = cache(tag_of)


def is_uid(value: str) -> bool:
    """Return whether ``value`` is a UID that can also safely name a file (PS3.5 section 9.1)."""
    return len(value) <= _UID_MAX_CHARACTERS and _UID.fullmatch(value) is not None


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """What names a series: the UIDs of its study and of itself."""

    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """The header facts of one stored SOP Instance that choosing and geometry need; no patient data.

    Lengths are mm. Directions and positions are LPS patient coordinates (PS3.3 C.7.6.2.1.1). A fact that the header
    doesn't give, or gives in a form that can't be read, is ``None`` or empty.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    key: SeriesKey
    transfer_syntax_uid: str
    modality: str = ""
    image_type: tuple[str, ...] = ()
    series_number: int | None = None
    series_description: str = ""
    convolution_kernel: str = ""
    body_part: str = ""
    acquisition_number: int | None = None
    instance_number: int | None = None
    frame_of_reference_uid: str = ""
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int = 1
    pixel_spacing_mm: tuple[float, float] | None = None
    """Distance between rows, distance between columns (PS3.3 10.7.1.3)."""
    slice_thickness_mm: float | None = None
    orientation: tuple[float, ...] | None = None
    """Six cosines: the direction along a row, then along a column."""
    position_mm: tuple[float, float, float] | None = None
    patient: str = ""
    """Digest of who the patient is; the same for every image of one patient."""
    filing: str = ""
    """Digest of all that results take over from the header: patient and study."""
    corrections: int = 0
    """How often this instance came again with other attributes of patient or study."""
    superseded: tuple[str, ...] = ()
    """``filing`` of the versions that it took the place of, the latest ones, oldest first."""


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series, sorted by SOP Instance UID."""

    key: SeriesKey
    instances: tuple[Instance, ...]

    @classmethod
    def of(cls, key: SeriesKey, instances: Iterable[Instance]) -> Series:
        """Sort ``instances`` by SOP Instance UID and keep one of each."""
        unique = {instance.sop_instance_uid: instance for instance in instances}
        return cls(key, tuple(unique[uid] for uid in sorted(unique)))

    @property
    def first(self) -> Instance:
        """The instance with the lowest Instance Number; without numbers, that with the lowest SOP Instance UID."""
        return min(
            self.instances, key=lambda i: (i.instance_number is None, i.instance_number or 0, i.sop_instance_uid)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of what results are made from, hexadecimal: changes when a slice is added, or when the attributes of
        patient or study are corrected.
        """
        lines = (f"{i.sop_instance_uid} {i.filing} {i.corrections}" for i in self.instances)
        return sha256("\n".join(lines).encode()).hexdigest()


def read_instance(path: Path) -> Instance:
    """Read the header facts of the DICOM file at ``path``, without its pixels.

    Raises:
        ValueError: when the file isn't DICOM or one of its UIDs is missing or is no UID.
    """
    dataset = read_file(path)
    try:
        return instance_of(dataset, path)
    except PARSER_FAULTS as error:
        raise ValueError(f"{path.name} is not a readable DICOM instance: {error}") from error


def read_file(path: Path) -> Dataset:
    """Read the DICOM file at ``path`` up to its pixels, with its File Meta Information.

    Raises:
        ValueError: when the file isn't DICOM.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, *PARSER_FAULTS) as error:
        raise ValueError(f"{path.name} is not a readable DICOM file: {error}") from error


def instance_of(dataset: Dataset, path: Path) -> Instance:
    """Return the header facts of ``dataset``, which has its File Meta Information and is kept at ``path``.

    Raises:
        ValueError: a UID is missing or is no UID.
    """
    filing = filing_digest(dataset)  # first: what is looked at is decoded
    sop_class_uid, sop_instance_uid, study_uid, series_uid = (
        _uid(dataset, keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    spacing, orientation, position, thickness = _plane(dataset)
    return Instance(
        path=path,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        key=SeriesKey(study_uid, series_uid),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        modality=_text(dataset, "Modality"),
        image_type=tuple(_text(dataset, "ImageType").upper().split("\\")),
        series_number=_integer(dataset, "SeriesNumber"),
        series_description=_text(dataset, "SeriesDescription"),
        convolution_kernel=_text(dataset, "ConvolutionKernel"),
        body_part=_text(dataset, "BodyPartExamined"),
        acquisition_number=_integer(dataset, "AcquisitionNumber"),
        instance_number=_integer(dataset, "InstanceNumber"),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID"),
        rows=_integer(dataset, "Rows"),
        columns=_integer(dataset, "Columns"),
        number_of_frames=_integer(dataset, "NumberOfFrames") or 1,
        pixel_spacing_mm=(spacing[0], spacing[1]) if len(spacing) == 2 else None,
        slice_thickness_mm=thickness[0] if thickness else None,
        orientation=orientation if len(orientation) == 6 else None,
        position_mm=(position[0], position[1], position[2]) if len(position) == 3 else None,
        patient=patient_digest(dataset),
        filing=filing,
    )


def _plane(dataset: Dataset) -> tuple[tuple[float, ...], ...]:
    """Pixel spacing, orientation, position and thickness; of an enhanced image, those of its first frame."""
    sources: list[Dataset] = [dataset]
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in list(dataset.get(groups) or [])[:1]:
            for macro in ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"):
                sources.extend(list(item.get(macro) or [])[:1])
    keywords = ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness")
    return tuple(next((found for source in sources if (found := _floats(source, keyword))), ()) for keyword in keywords)


def _uid(dataset: Dataset, keyword: str) -> str:
    value = _text(dataset, keyword)
    if not is_uid(value):
        raise ValueError(f"{keyword} is missing or is not a UID")
    return value


def _text(dataset: Dataset, keyword: str) -> str:
    """The value as text; numbers as they are written, with backslashes between them."""
    if (tag := _tag(keyword)) not in dataset:
        return ""
    element = dataset.get_item(tag)
    plain = _plain(element)
    if plain is not None:
        return plain
    value = dataset[tag].value
    if value is None:
        return ""
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(str(part) for part in value)
    return str(value).strip()


def _plain(element: DataElement | RawDataElement) -> str | None:
    """The text of an element that is not decoded yet and whose bytes are its text; None of any other.

    Every slice that comes passes here, and decoding by pydicom takes long (`python -m benchmarks.receive`).
    """
    if not isinstance(element, RawDataElement) or not element.value or not element.value.isascii():
        return None
    usual_vr = dictionary_VR(element.tag)
    several = usual_vr != "DS" and b"\\" in element.value
    if (element.VR or usual_vr) not in _PLAIN_VRS or several or b"\x1b" in element.value:
        return None
    return element.value.decode("ascii").rstrip(" \0").strip()


def _integer(dataset: Dataset, keyword: str) -> int | None:
    try:
        return int(_text(dataset, keyword))
    except ValueError:
        return None


def _floats(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    try:
        return tuple(float(part.rstrip(" \0")) for part in _text(dataset, keyword).split("\\") if part)
    except ValueError:
        return ()
