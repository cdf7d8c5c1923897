"""A scene while it is drawn: HU, exact bone fraction, and the two kinds of structure that are at risk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.shapes import FineGrid, FloatArray, Vector

THIN_MM = 1.0
"""Bone thinner than this is a sheet at risk of holes."""

MARK_MM = 0.3
"""Half width of the marks on the medial surface of a sheet and on the axis of a lumen."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a scanner sees and what is true, on cells of `step_mm`, (slice, row, column).

    `bone` is the exact fraction of each cell that is bone; `sheet` marks the medial surface of bone
    thinner than 1 mm; `lumen` marks canals, true holes and gaps under 2 mm.
    """

    step_mm: float
    hu: FloatArray
    bone: FloatArray
    sheet: NDArray[np.bool_]
    lumen: NDArray[np.bool_]


@dataclass
class Canvas:
    """Mutable scene. Later strokes cover earlier ones."""

    grid: FineGrid
    hu: FloatArray
    bone: FloatArray
    sheet: NDArray[np.bool_]
    lumen: NDArray[np.bool_]
    allowed: FloatArray | None = field(default=None)

    @classmethod
    def blank(cls, grid: FineGrid, hu: float) -> Canvas:
        """One medium everywhere."""
        return cls(
            grid=grid,
            hu=np.full(grid.shape, hu, dtype=np.float32),
            bone=np.zeros(grid.shape, dtype=np.float32),
            sheet=np.zeros(grid.shape, dtype=np.bool_),
            lumen=np.zeros(grid.shape, dtype=np.bool_),
        )

    def fill(self, fraction: FloatArray, hu: FloatArray | float) -> None:
        """Replace whatever is there by something that is not bone."""
        self.hu += fraction * (hu - self.hu)
        self.bone *= 1.0 - fraction

    def surround(self, fraction: FloatArray, hu: float) -> None:
        """Replace only what is not bone."""
        free = fraction * (1.0 - self.bone)
        self.hu += free * (hu - self.hu)

    def ossify(self, fraction: FloatArray, hu: FloatArray | float) -> None:
        """Replace whatever is there by bone, where bone is allowed."""
        if self.allowed is not None:
            fraction = fraction * self.allowed
        self.hu += fraction * (hu - self.hu)
        self.bone += fraction * (1.0 - self.bone)

    def mark_sheet(self, where: NDArray[np.bool_]) -> None:
        """Mark the medial surface of thin bone, where bone is allowed."""
        self.sheet |= where if self.allowed is None else where & (self.allowed > 0.5)

    def point_in_bone(self, random: np.random.Generator, level: float = 0.9) -> Vector | None:
        """A random point in solid bone, away from the border of the cube, mm; None when there is none."""
        return self._point(self.bone > level, random)

    def point_on(self, where: NDArray[np.bool_], random: np.random.Generator) -> Vector | None:
        """A random point of a mask, away from the border of the cube, mm; None when it is empty."""
        return self._point(where, random)

    def _point(self, where: NDArray[Any], random: np.random.Generator) -> Vector | None:
        margin = self.grid.count // 8
        inner = where[margin:-margin:2, margin:-margin:2, margin:-margin:2]
        candidates = np.flatnonzero(inner)
        if candidates.size == 0:
            return None
        index = np.unravel_index(int(random.choice(candidates)), inner.shape)
        point: Vector = (np.array(index, dtype=np.float64) * 2 + margin + 0.5) * self.grid.step_mm
        return point

    def finish(self) -> Scene:
        """The scene; marks of sheets that later strokes removed are dropped."""
        lumen = self.lumen & (self.bone < 0.4)
        return Scene(
            step_mm=self.grid.step_mm,
            hu=self.hu,
            bone=np.clip(self.bone, 0.0, 1.0),
            sheet=self.sheet & (self.bone > 0.02) & ~lumen,
            lumen=lumen,
        )
