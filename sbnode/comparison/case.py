"""One study in a comparison: what A and B made of it, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass

from sbnode.comparison.distance import SurfaceDistance
from sbnode.comparison.overlap import Overlap
from sbnode.comparison.topology import Topology
from sbnode.results.panels import Panel
from sbnode.results.report import Report

__all__ = ["Agreement", "Case", "Place", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a configuration gives no result; ``code`` is the name of the error."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the surfaces differ much: patient LPS mm, how far they are apart there, and cuts through it.

    ``scan`` are cuts through the CT alone, ``cuts`` the same ones with the bone of A and B.
    """

    at_mm: tuple[float, float, float]
    apart_mm: float
    scan: tuple[Panel, ...]
    cuts: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the bone of A and that of B agree; ``distance`` is None where one of them is empty."""

    overlap: Overlap
    distance: SurfaceDistance | None
    topology: tuple[Topology, Topology]
    places: tuple[Place, ...]
    views: tuple[tuple[Panel, Panel, Panel], ...]
    """From each side: A, B, and both with what only one of them has in its own colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One study. ``agreement`` is None where A or B gives no result, or where the two can't be laid over each other.

    ``label`` is the name of a study or job in the queue, or a digest of the Study Instance UID; no patient data.
    ``apart`` says why two results can't be laid over each other; else it is empty.
    """

    label: str
    a: Report | Refusal
    b: Report | Refusal
    agreement: Agreement | None = None
    apart: str = ""

    @property
    def compared(self) -> bool:
        """Whether both gave a result, and these were compared."""
        return self.agreement is not None
