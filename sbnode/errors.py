"""Everything that sbnode raises on purpose.

    SbnodeError
    ├── ConfigError            the command line stops with exit code 2
    ├── ModelError             a model is missing, altered or of the wrong shape: refused at start, or a dead letter
    ├── ReceiveError           the C-STORE handler answers ``dimse_status``; the sender keeps its copy
    │   ├── NotUnderstood          the data set can't be parsed, or its UIDs are unsafe
    │   ├── WrongSopClass          the instance isn't of a class that the node takes
    │   ├── ConflictingInstance    a SOP Instance UID that is stored already, with another image
    │   └── StorageFull            too little space left in the spool
    ├── SeriesError            the study gives no result; the reason is reported, exit code 3
    │   ├── NoUsableSeries         no series of the study passes the selection rules
    │   ├── SeveralPatients        the images of the study name more than one patient
    │   ├── LeftAlone              a rule says that the study is not to be taken
    │   ├── UnsafeGeometry         the slices can't be put into one volume safely
    │   ├── UndecodablePixels      the pixel data can't be read
    │   └── NoSkullBase            the volume shows no skull base
    ├── UnsafeResult           a result that viewers would show wrongly: a dead letter, never sent
    ├── QueueBusy              the status page says that another change is under way, and nothing was done
    ├── SpoolError             a stored file is missing or doesn't match its record
    └── DeliveryError          a result did not reach a destination
        ├── DestinationUnavailable     may be retried
        └── DestinationRefused         permanent for this object at this destination

Messages say what, where and what to do, and hold no patient data.
"""

from __future__ import annotations

import errno
from typing import ClassVar

__all__ = [
    "ConfigError",
    "ConflictingInstance",
    "DeliveryError",
    "DestinationRefused",
    "DestinationUnavailable",
    "LeftAlone",
    "ModelError",
    "NoSkullBase",
    "NoUsableSeries",
    "NotUnderstood",
    "QueueBusy",
    "ReceiveError",
    "SbnodeError",
    "SeriesError",
    "SeveralPatients",
    "SpoolError",
    "StorageFull",
    "UndecodablePixels",
    "UnsafeGeometry",
    "UnsafeResult",
    "WrongSopClass",
    "unusable",
]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class SbnodeError(Exception):
    """Base of all errors of sbnode. The message says what, where and what to do, and holds no patient data."""


class ConfigError(SbnodeError):
    """The configuration is wrong. The message names the key, the value and the remedy."""


class ModelError(SbnodeError):
    """A model folder can't be used: a file is missing, its hash differs, or the network has other inputs."""


class ReceiveError(SbnodeError):
    """An instance was not taken. The C-STORE handler answers with ``dimse_status`` (PS3.4 table B.2-1)."""

    dimse_status: ClassVar[int] = 0xC000


class NotUnderstood(ReceiveError):
    """Error: Cannot Understand. The data set can't be parsed or its UIDs are not UIDs."""

    dimse_status = 0xC000


class WrongSopClass(ReceiveError):
    """Error: Data Set Does Not Match SOP Class."""

    dimse_status = 0xA900


class ConflictingInstance(ReceiveError):
    """Another image is stored under this SOP Instance UID. The first one stays, the second is refused."""

    dimse_status = 0xC001


class StorageFull(ReceiveError):
    """Refused: Out of Resources. The sender should try again later."""

    dimse_status = 0xA700


class SeriesError(SbnodeError):
    """A study gives no result for a reason that will not change by itself. ``code`` is a short metric label."""

    code: ClassVar[str] = "series_error"


class NoUsableSeries(SeriesError):
    """No series of the study passes the selection rules."""

    code = "no_usable_series"


class SeveralPatients(SeriesError):
    """The images of the study name more than one patient, so nobody can say under whom to file a result."""

    code = "several_patients"


class LeftAlone(SeriesError):
    """A rule says that no series of the study is to be taken. The message names the rules."""

    code = "left_alone"


class UnsafeGeometry(SeriesError):
    """The slices can't be put into one volume safely. The message holds the reason and the number."""

    code = "unsafe_geometry"


class UndecodablePixels(SeriesError):
    """The pixel data of an instance can't be decoded or isn't what its header says."""

    code = "undecodable_pixels"


class NoSkullBase(SeriesError):
    """The volume shows no skull base, so there is nothing to return."""

    code = "no_skull_base"


class UnsafeResult(SbnodeError):
    """A result object that viewers would hide or misplace. It is kept back; the message names the broken rules."""


class SpoolError(SbnodeError):
    """A file of the spool is missing or doesn't match its record."""


class QueueUnavailable(SbnodeError):
    """The database of the queue doesn't answer, or can't be written."""


class QueueBusy(SbnodeError):
    """Somebody else's change of the queue takes too long. Nothing was done: try again."""


class DeliveryError(SbnodeError):
    """A result object did not reach a destination."""

    retryable: ClassVar[bool] = False


class DestinationUnavailable(DeliveryError):
    """The destination is down, slow, out of resources or broke off: try again later."""

    retryable = True


class DestinationRefused(DeliveryError):
    """The destination refuses this object for good: no presentation context, 0x0122, 0xA9xx or 0xCxxx."""


def unusable(what: str, error: OSError) -> ConfigError | SpoolError:
    """Return what it means that ``what``, a key with its path, can't be made or written when a process starts.

    A device that is full is no fault of the configuration: who starts the node again finds it mended.
    """
    kind = SpoolError if error.errno in _FULL else ConfigError
    return kind(f"{what} can't be written ({error.strerror})")
