"""A slab of cells to draw solids into: how much of each cell is bone, and the HU of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.shapes import inside_fraction, slab_fraction

__all__ = ["Slab"]

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Slab:
    """Cells indexed (z, y, x); ``x``, ``y`` and ``z`` are their centres in mm, shaped to broadcast.

    Distances are signed, mm, negative inside. ``bone`` is the fraction of bone, ``bone_hu`` the HU of that bone,
    ``soft_hu`` the HU of what isn't bone. A part shares its arrays with the whole.
    """

    x: Field
    y: Field
    z: Field
    cell_mm: float
    bone: Field
    bone_hu: Field
    soft_hu: Field

    @classmethod
    def of(cls, x: Field, y: Field, z: Field, cell_mm: float, *, air_hu: float, bone_hu: float) -> Slab:
        """An empty slab."""
        shape = (z.size, y.size, x.size)
        return cls(
            x.reshape(1, 1, -1).astype(np.float32),
            y.reshape(1, -1, 1).astype(np.float32),
            z.reshape(-1, 1, 1).astype(np.float32),
            cell_mm,
            np.zeros(shape, np.float32),
            np.full(shape, bone_hu, np.float32),
            np.full(shape, air_hu, np.float32),
        )

    def hu(self) -> Field:
        """HU of each cell."""
        return self.soft_hu + self.bone * (self.bone_hu - self.soft_hu)

    def part(self, low: Sequence[float], high: Sequence[float]) -> Slab | None:
        """The cells between two corners (x, y, z); None when the slab holds none of them."""
        ranges = []
        for axis, lowest, highest in zip((self.x, self.y, self.z), low, high, strict=True):
            line = axis.ravel()
            first, last = np.searchsorted(line, (lowest - self.cell_mm, highest + self.cell_mm))
            if first >= last:
                return None
            ranges.append(slice(int(first), int(last)))
        where = (ranges[2], ranges[1], ranges[0])
        return Slab(
            self.x[:, :, ranges[0]],
            self.y[:, ranges[1]],
            self.z[ranges[2]],
            self.cell_mm,
            self.bone[where],
            self.bone_hu[where],
            self.soft_hu[where],
        )

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float]) -> Field:
        """Distance to an ellipsoid, to first order."""
        parts = [(a - c) / r for a, c, r in zip((self.x, self.y, self.z), centre, radii, strict=True)]
        scaled = np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2)
        slope = np.sqrt(sum((p / r) ** 2 for p, r in zip(parts, radii, strict=True)))
        # In the middle both vanish; the distance there is the smallest radius.
        return np.asarray((scaled + 1e-6) * (scaled - 1) / (slope + 1e-6 / min(radii)), np.float32)

    def column(self, centre: tuple[float, float], radii: tuple[float, float], low: float, high: float) -> Field:
        """Distance to an upright elliptic cylinder between two heights."""
        round_part = (np.hypot((self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1]) - 1) * min(radii)
        return np.asarray(np.maximum(round_part, np.maximum(low - self.z, self.z - high)), np.float32)

    def cone(self, start: Sequence[float], end: Sequence[float], first_mm: float, last_mm: float) -> Field:
        """Distance to a round body along a line whose radius grows like the root of the way from start to end."""
        t, away = self._along(start, end)
        return np.asarray(away - (first_mm + (last_mm - first_mm) * np.sqrt(t)), np.float32)

    def _along(self, start: Sequence[float], end: Sequence[float]) -> tuple[Field, Field]:
        """How far along a line the nearest point on it lies, 0..1, and the distance to that point."""
        axis = np.subtract(end, start)
        squared = max(float(axis @ axis), 1e-9)
        offsets = [a - s for a, s in zip((self.x, self.y, self.z), start, strict=True)]
        t = np.clip(sum(o * float(a) for o, a in zip(offsets, axis, strict=True)) / squared, 0, 1)
        away = np.sqrt(sum((o - t * float(a)) ** 2 for o, a in zip(offsets, axis, strict=True)))
        return np.asarray(t, np.float32), np.asarray(away, np.float32)

    def fill(self, distance: Field, hu: float) -> None:
        """Give what isn't bone inside a surface another HU."""
        inside = inside_fraction(distance, self.cell_mm)
        self.soft_hu[...] += inside * (np.float32(hu) - self.soft_hu)

    def solid(self, distance: Field, cortex_mm: float | None = None, hu: float | None = None) -> None:
        """Add bone inside a surface; spongy where it lies deeper than ``cortex_mm``."""
        inside = inside_fraction(distance, self.cell_mm)
        if hu is not None:
            self.bone_hu[inside > 0.5] = hu
        elif cortex_mm is not None:
            spongy = np.clip((-distance - cortex_mm) / 1.5, 0, 1)
            self.bone_hu[...] *= 1 - 0.55 * spongy
        np.maximum(self.bone, inside, out=self.bone)

    def hollow(self, distance: Field, hu: float) -> None:
        """Take all bone away inside a surface, put something else there and line it with compact bone."""
        self.carve(distance, hu)
        self.bone_hu[distance < 1.2] = self.bone_hu.max(initial=0)

    def carve(self, distance: Field, hu: float) -> None:
        """Take bone away inside a surface and put something else there."""
        inside = inside_fraction(distance, self.cell_mm)
        self.bone[...] *= 1 - inside
        # A cell that is only partly carved keeps its other part's bone, so the filling counts for what isn't bone.
        self.soft_hu[inside > 0.02] = hu

    def plate(self, axis: int, at_mm: float, thickness_mm: float, outline: Field | Any) -> None:
        """Add a flat plate across ``axis`` where ``outline`` is negative, with the exact mass of its thickness."""
        line = (self.x, self.y, self.z)[axis]
        fraction = slab_fraction(line - np.float32(at_mm), thickness_mm, self._step(axis))
        fraction = fraction * inside_fraction(outline, self.cell_mm)
        self.bone_hu[fraction > self.bone] = self.bone_hu.max(initial=0)
        np.maximum(self.bone, fraction, out=self.bone)

    def _step(self, axis: int) -> float:
        line = (self.x, self.y, self.z)[axis].ravel()
        return float(line[1] - line[0]) if line.size > 1 else self.cell_mm

    def ball(
        self,
        centre: Sequence[float],
        radii: Sequence[float],
        cortex_mm: float | None = None,
        hu: float | None = None,
    ) -> None:
        """Add an ellipsoid of bone."""
        part = self.part(np.subtract(centre, radii), np.add(centre, radii))  # type: ignore[arg-type]
        if part is not None:
            part.solid(part.ellipsoid(centre, radii), cortex_mm, hu)

    def bar(self, start: Sequence[float], end: Sequence[float], radius_mm: float) -> None:
        """Add a rod of bone with round ends."""
        part = self._about((start, end), radius_mm)
        if part is not None:
            part.solid(part._along(start, end)[1] - np.float32(radius_mm))

    def box(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Add a block of bone with its faces across the axes."""
        part = self.part(low, high)
        if part is not None:
            gaps = [
                np.maximum(a - axis, axis - b) for axis, a, b in zip((part.x, part.y, part.z), low, high, strict=True)
            ]
            part.solid(np.maximum(np.maximum(gaps[0], gaps[1]), gaps[2]))

    def carve_path(self, path: Sequence[Sequence[float]], radius_mm: float, hu: float) -> None:
        """Take away the bone within ``radius_mm`` of a path."""
        part = self._about(path, radius_mm)
        if part is not None:
            away = [part._along(a, b)[1] for a, b in pairwise(path)]
            part.carve(np.minimum.reduce(away) - np.float32(radius_mm), hu)

    def _about(self, path: Sequence[Sequence[float]], radius_mm: float) -> Slab | None:
        points = np.asarray(path, np.float64)
        return self.part(points.min(axis=0) - radius_mm, points.max(axis=0) + radius_mm)
