"""What the status page shows: frozen values, gathered elsewhere. No patient data but ``Result.patient``.

Times are in seconds since 1970, ages and lengths of time in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Certificate",
    "Destination",
    "DestinationState",
    "Disk",
    "Fault",
    "Incoming",
    "Model",
    "Overview",
    "Queue",
    "QueueLine",
    "Receiving",
    "Result",
    "Running",
    "Sent",
]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A series on its way. ``name`` is a short hash, ``complete`` whether it only waits for the rest of its study."""

    name: str
    instances: int
    silent_s: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Receiving:
    """Open associations by calling AE title, series on their way, and complete studies that the queue hasn't taken."""

    associations: tuple[tuple[str, int], ...] = ()
    series: tuple[Incoming, ...] = ()
    untaken: int = 0


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One queue: how much waits or runs, and for how long the oldest has."""

    name: str
    depth: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class Running:
    """What a worker is doing; ``step`` of ``steps`` counts from 1, and is 0 for a stage that isn't known."""

    worker: str
    job: str
    stage: str
    share: float
    step: int
    steps: int
    begun_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A dead letter, a rejected study, or one of these that somebody dismissed.

    ``subject`` says what it is, ``destination`` is of a delivery; else empty.
    """

    id: str
    state: Literal["dead letter", "rejected", "dismissed"]
    subject: str
    destination: str
    reason: str
    at_s: float


DestinationState = Literal["delivers", "waits", "fails", "nothing yet"]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go, how far what is meant for it is, and ``reason``: why the last attempt failed; else empty."""

    name: str
    kind: Literal["C-STORE", "STOW-RS"]
    state: DestinationState
    waiting: int
    oldest_age_s: float
    dead: int
    last_delivery_s: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """How many objects of a result one destination has got, of how many.

    ``failed`` are dead letters, ``held`` are those that shadow mode held back, ``dismissed`` those that were given up
    and put away on purpose.
    """

    destination: str
    delivered: int
    wanted: int
    failed: int
    held: int = 0
    dismissed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A result in the spool. ``flags`` are what to look at before it is used, with a message each."""

    job: str
    made_s: float
    files: tuple[str, ...]
    slices: int
    volume_ml: float
    inferred_share: float
    flags: tuple[tuple[str, str], ...]
    seconds: float
    model: str
    sent: tuple[Sent, ...] = ()
    patient: str | None = None
    """Name and ID, where the configuration asks for them."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What the database of the queue knows."""

    lines: tuple[QueueLine, ...] = ()
    faults: tuple[Fault, ...] = ()
    destinations: tuple[Destination, ...] = ()
    dismissed: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Disk:
    """Space in the spool: below ``min_free_bytes`` nothing is received, below ``pause_free_bytes`` nothing is begun."""

    free_bytes: int
    total_bytes: int
    min_free_bytes: int
    pause_free_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a worker has opened."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that the node shows, and when it ends."""

    shown_to: str
    ends_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole node at one moment. ``queue`` is None while its database doesn't answer."""

    at_s: float
    ae_title: str
    version: str
    receiving: Receiving
    queue: Queue | None
    running: tuple[Running, ...]
    results: tuple[Result, ...]
    disk: Disk
    workers: tuple[str, ...]
    worker_wanted: bool
    """Whether this process starts a worker; then one that isn't there is a fault."""
    models: tuple[Model, ...]
    certificates: tuple[Certificate, ...]
