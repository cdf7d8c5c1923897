"""A test object while it is built: fields on 0.1 mm cells, and the analytic structures that are scored.

Coordinates are (slice, row, column) in mm from the corner of the cube. Nothing here is shared with the
scenes of the training: shapes are rigid analytic bodies, lists of structures are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Points = NDArray[np.float64]

STEP_MM = 0.1
CELLS = 192
LENGTH_MM = STEP_MM * CELLS
RIM_MM = 2.4
"""Outer shell that is not scored: the widest slice profile reaches in from the border."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Points on the mid-surface of thin bone: positions, unit normals (n, 3) and the thickness, mm (n,)."""

    points_mm: Points
    normals: Points
    thickness_mm: Points


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A free way through bone: its axis (n, 3), two normals to it (n, 3) each, and its radius."""

    axis_mm: Points
    first: Points
    second: Points
    radius_mm: float


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Bone fraction on the fine cells, and what is scored on it."""

    bone: FloatArray
    plates: tuple[Samples, ...]
    canals: tuple[Passage, ...]
    holes: tuple[Passage, ...]
    gaps_mm: Points


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A rigid frame: local (u, v, w) of a point x is `rotation @ (x - centre)`."""

    rotation: Points
    centre_mm: Points

    def local(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Local coordinates of all cells."""
        line = ((np.arange(CELLS) + 0.5) * STEP_MM).astype(np.float32)
        z, y, x = line[:, None, None], line[None, :, None], line[None, None, :]
        z, y, x = z - self.centre_mm[0], y - self.centre_mm[1], x - self.centre_mm[2]
        u, v, w = (
            np.asarray(np.float32(r[0]) * z + np.float32(r[1]) * y + np.float32(r[2]) * x, dtype=np.float32)
            for r in self.rotation
        )
        return u, v, w

    def to_scene(self, local: Points) -> Points:
        """Points (n, 3) from local to scene coordinates."""
        mapped: Points = local @ self.rotation + self.centre_mm
        return mapped

    def turn(self, vectors: Points) -> Points:
        """Directions (n, 3) from local to scene coordinates."""
        turned: Points = vectors @ self.rotation
        return turned


def random_frame(random: np.random.Generator) -> Frame:
    """A frame in any orientation (QR of a normal matrix), its centre within 1 mm of the cube's."""
    rotation, triangle = np.linalg.qr(random.standard_normal((3, 3)))
    rotation = rotation * np.sign(np.diag(triangle))
    return Frame(rotation=rotation, centre_mm=0.5 * LENGTH_MM + random.uniform(-1.0, 1.0, 3))


def cover(distance_mm: FloatArray) -> FloatArray:
    """Fraction of each cell on the negative side of a surface."""
    return np.asarray(np.clip(0.5 - distance_mm / np.float32(STEP_MM), 0.0, 1.0), dtype=np.float32)


def scored(points_mm: Points) -> NDArray[np.bool_]:
    """Which points lie inside the rim."""
    inside = (points_mm > RIM_MM) & (points_mm < LENGTH_MM - RIM_MM)
    return np.asarray(inside.all(axis=1))


@dataclass
class Phantom:
    """Fields and structures of one test object; later bodies cover earlier ones."""

    hu: FloatArray
    bone: FloatArray
    plates: list[Samples] = field(default_factory=list)
    canals: list[Passage] = field(default_factory=list)
    holes: list[Passage] = field(default_factory=list)
    gaps_mm: list[Points] = field(default_factory=list)

    @classmethod
    def filled(cls, hu: float) -> Phantom:
        """One medium everywhere."""
        shape = (CELLS, CELLS, CELLS)
        return cls(hu=np.full(shape, hu, dtype=np.float32), bone=np.zeros(shape, dtype=np.float32))

    def put(self, fraction: FloatArray, hu: float, bone: bool = False) -> None:
        """Replace what is there, by bone or by something else."""
        self.hu += fraction * (np.float32(hu) - self.hu)
        self.bone += fraction * (np.float32(bone) - self.bone)

    def put_beside(self, fraction: FloatArray, hu: float) -> None:
        """Replace what is not bone."""
        free = fraction * (1.0 - self.bone)
        self.hu += free * (np.float32(hu) - self.hu)

    def add_plate(self, samples: Samples) -> None:
        """Score the samples that lie inside the rim."""
        keep = scored(samples.points_mm)
        if keep.any():
            self.plates.append(
                Samples(
                    points_mm=samples.points_mm[keep],
                    normals=samples.normals[keep],
                    thickness_mm=samples.thickness_mm[keep],
                )
            )

    def add_canal(self, passage: Passage) -> None:
        """Score a canal: the part of it inside the rim, when that is 2 mm or more."""
        keep = scored(passage.axis_mm)
        if int(keep.sum()) >= round(2.0 / AXIS_STEP_MM):
            self.canals.append(_part(passage, keep))
            if passage.radius_mm < 1.0:
                self.gaps_mm.append(passage.axis_mm[keep])

    def add_hole(self, passage: Passage) -> None:
        """Score a hole in a plate when all of it lies inside the rim."""
        if scored(passage.axis_mm).all():
            self.holes.append(passage)

    def truth(self) -> Truth:
        """The scored structures, frozen."""
        gaps = np.concatenate(self.gaps_mm) if self.gaps_mm else np.zeros((0, 3))
        return Truth(
            bone=self.bone,
            plates=tuple(self.plates),
            canals=tuple(self.canals),
            holes=tuple(self.holes),
            gaps_mm=gaps[scored(gaps)],
        )


AXIS_STEP_MM = 0.1
"""Spacing of the points on the axis of a passage."""


def _part(passage: Passage, keep: NDArray[Any]) -> Passage:
    """The longest run of kept axis points."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.astype(int), [0]])))
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    run = slice(int(starts[longest]), int(stops[longest]))
    return Passage(
        axis_mm=passage.axis_mm[run],
        first=passage.first[run],
        second=passage.second[run],
        radius_mm=passage.radius_mm,
    )


def straight(frame: Frame, start: Points, direction: Points, length_mm: float, radius_mm: float) -> Passage:
    """A straight passage given in local coordinates."""
    s = np.arange(0.0, length_mm, AXIS_STEP_MM)
    axis = frame.to_scene(start[None] + s[:, None] * direction[None])
    other = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.8 else np.array([0.0, 1.0, 0.0])
    first = np.cross(direction, other)
    first /= np.linalg.norm(first)
    second = np.cross(direction, first)
    ones = np.ones((s.size, 1))
    return Passage(
        axis_mm=axis,
        first=frame.turn(ones * first),
        second=frame.turn(ones * second),
        radius_mm=radius_mm,
    )
