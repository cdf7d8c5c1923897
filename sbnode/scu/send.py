"""C-STORE of one object to one destination (PS3.4 annex B)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_context

from sbnode.config import Destination
from sbnode.errors import DestinationRefused, DestinationUnavailable, SpoolError
from sbnode.scu.association import association

__all__ = ["Meaning", "judge", "meaning", "store"]


class Meaning(Enum):
    """What a C-STORE response status means for the object that was sent."""

    DELIVERED = "delivered"
    """0x0000."""
    WARNED = "warned"
    """The destination has the object and says that it changed or doubted something."""
    REFUSED = "refused"
    """It will never take this object."""
    UNAVAILABLE = "unavailable"
    """It may take it later."""


@dataclass(frozen=True, slots=True)
class _Rule:
    first: int
    last: int
    meaning: Meaning
    words: str


# PS3.4 table B.2-1 (storage) and PS3.7 annex C (general). The first rule that holds counts.
_RULES = (
    _Rule(0x0000, 0x0000, Meaning.DELIVERED, "success"),
    _Rule(0xB000, 0xB000, Meaning.WARNED, "coercion of data elements"),
    _Rule(0xB006, 0xB006, Meaning.WARNED, "elements discarded"),
    _Rule(0xB007, 0xB007, Meaning.WARNED, "data set does not match SOP class"),
    # Result UIDs are a function of the job, so an instance that is there already is the one being sent.
    _Rule(0x0111, 0x0111, Meaning.WARNED, "duplicate SOP instance"),
    _Rule(0x0117, 0x0117, Meaning.REFUSED, "invalid SOP instance"),
    _Rule(0x0122, 0x0122, Meaning.REFUSED, "SOP class not supported"),
    _Rule(0xA700, 0xA7FF, Meaning.UNAVAILABLE, "out of resources"),
    _Rule(0xA900, 0xA9FF, Meaning.REFUSED, "data set does not match SOP class"),
    _Rule(0xC000, 0xCFFF, Meaning.REFUSED, "cannot understand"),
)
_UNLISTED = _Rule(0x0000, 0xFFFF, Meaning.UNAVAILABLE, "status without a rule")


def meaning(status: int) -> Meaning:
    """Return what a C-STORE response ``status`` means; one that has no rule may be tried again."""
    return _rule(status).meaning


def store(path: Path, destination: Destination, calling_ae_title: str) -> int:
    """Send the DICOM file at ``path`` to ``destination``; return the response status: success or a warning.

    Proposes the object's own SOP class with its own transfer syntax and, for an uncompressed object, also
    with the default one, which every Application Entity has to know (PS3.5 section 10.1).

    Raises:
        DestinationUnavailable: the destination is down, slow, out of resources or broke off.
        DestinationRefused: no presentation context, or a status that is permanent for this object.
        SpoolError: the file is missing or isn't DICOM.
    """
    dataset = _read(path)
    syntaxes = [dataset.file_meta.TransferSyntaxUID]
    if syntaxes[0] == ExplicitVRLittleEndian:
        syntaxes.append(ImplicitVRLittleEndian)
    contexts = [build_context(dataset.SOPClassUID, syntax) for syntax in syntaxes]
    with association(destination, contexts, calling_ae_title) as established:
        response = established.send_c_store(dataset)
    if "Status" not in response:
        raise DestinationUnavailable(
            f"destination '{destination.name}' gave no answer to C-STORE within {destination.timeout_s:g} s"
        )
    return judge(int(response.Status), path.name, destination.name)


def _read(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path)
    except (OSError, InvalidDicomError) as error:
        raise SpoolError(f"result {path.name} is missing or unreadable: {type(error).__name__}") from error


def judge(status: int, file: str, destination: str) -> int:
    """Return a status that means success or a warning.

    Raises:
        DestinationRefused: it is permanent for this object at this destination.
        DestinationUnavailable: it may be tried again.
    """
    rule = _rule(status)
    message = f"destination '{destination}' answered 0x{status:04X} ({rule.words}) to {file}"
    if rule.meaning is Meaning.REFUSED:
        raise DestinationRefused(message)
    if rule.meaning is Meaning.UNAVAILABLE:
        raise DestinationUnavailable(message)
    return status


def _rule(status: int) -> _Rule:
    return next((rule for rule in _RULES if rule.first <= status <= rule.last), _UNLISTED)
