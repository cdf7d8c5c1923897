"""What the node found: the bone on the fine grid, its named parts, and what was odd about the series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sbnode.inference.geometry import Grid

__all__ = ["Bone", "Finding", "Foramen", "NamedBone", "Side"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd about a series that was dealt with. ``code`` is a short label, ``message`` holds the number."""

    code: str
    message: str


Side = Literal["left", "right", ""]
"""The patient's side; empty where a structure is unpaired."""


@dataclass(frozen=True, slots=True)
class NamedBone:
    """A bone of the skull base: the part of it in the region, its volume in mL, and how sure its name is, 0..1."""

    name: str
    side: Side
    volume_ml: float
    probability: float


@dataclass(frozen=True, slots=True)
class Foramen:
    """A named opening: found open, or too small for the scan. One that is neither is not mentioned.

    ``place_mm`` is the middle of its narrowest section in patient LPS mm, ``calibre_mm`` the diameter of the largest
    circle that fits there. How sure: ``rim`` is the share of its rim that is bone, 0..1, ``away_mm`` how far it lies
    from where it is expected. All four are None for one that the scan doesn't resolve.
    """

    name: str
    side: Side
    state: Literal["open", "not resolvable at this slice thickness"]
    place_mm: tuple[float, float, float] | None = None
    calibre_mm: float | None = None
    rim: float | None = None
    away_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bone:
    """The bone of the wanted region on the fine grid.

    ``level`` is occupancy minus the local threshold, float32, shape ``grid.shape``; the surface is its iso-surface at
    0, and cells outside the region hold a negative value. ``inferred`` marks the cells that are bone only because the
    local threshold lay under one half, bool, same shape; it implies ``level > 0``. ``canal`` marks the cells that
    aren't bone and that the evidence shows as a canal or a narrow gap, ``plate`` the bone cells that it shows as a thin
    plate; bool, same shape.
    """

    grid: Grid
    level: NDArray[np.float32]
    inferred: NDArray[np.bool_]
    canal: NDArray[np.bool_]
    plate: NDArray[np.bool_]

    def within(self, inside: NDArray[np.float32]) -> Bone:
        """Return the bone inside a region.

        Args:
            inside: how surely each cell belongs to the region, 0..1, shape ``grid.shape``; the region ends at 0.5.
        """
        level = np.minimum(self.level, 4 * (inside - np.float32(0.5)))
        present = level > 0
        return Bone(
            grid=self.grid,
            level=level,
            inferred=self.inferred & present,
            canal=self.canal & (inside > 0.5),
            plate=self.plate & present,
        )

    @property
    def mask(self) -> NDArray[np.bool_]:
        """All bone, inferred bone included."""
        return np.asarray(self.level > 0)

    @property
    def volume_ml(self) -> float:
        """Volume of all bone in mL."""
        return float(np.count_nonzero(self.level > 0)) * self.grid.spacing_mm**3 / 1000

    @property
    def inferred_share(self) -> float:
        """Inferred share of all bone, 0..1; 0 when there is none."""
        total = np.count_nonzero(self.level > 0)
        return float(np.count_nonzero(self.inferred)) / total if total else 0.0
