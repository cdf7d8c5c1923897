"""The built-in simulated head: its bones, air spaces, thin plates and canals as simple solids.

Everything is drawn from formulas; no scan and no atlas is behind it. Frame: x to the left, y to the back, z up, mm,
origin at the sella. Sizes follow published anatomy where thin bone and openings are concerned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.slab import Slab

__all__ = ["CANALS", "PLATES", "Canal", "Plate", "draw_head"]

Point = tuple[float, float, float]

AIR_HU, FAT_HU, MUSCLE_HU, BRAIN_HU, FLUID_HU, BONE_HU, SPONGY_HU, TOOTH_HU = (
    -1000,
    -90,
    50,
    36,
    12,
    1350,
    550,
    1900,
)

ROOF_MM = 20.0
"""Height of the floor of the anterior fossa."""
FLOOR_MM = -9.0
"""Height of the orbital floor."""
MEDIAL_MM = 12.0
"""Distance of the medial orbital walls from the midline."""


@dataclass(frozen=True)
class Plate:
    """A thin plate of bone: a rectangle in a coordinate plane that is bone of this thickness and nothing else."""

    name: str
    axis: int
    """Axis of its normal: 0 is x, 1 is y, 2 is z."""
    centre_mm: Point
    half_mm: tuple[float, float]
    """Half of its sides along the other two axes, in their order."""
    thickness_mm: float


@dataclass(frozen=True)
class Canal:
    """A canal through bone: the ball of this radius moved along the path is free of bone."""

    name: str
    path_mm: tuple[Point, ...]
    radius_mm: float


def _both_sides() -> Iterator[tuple[str, float]]:
    yield from (("right", -1.0), ("left", 1.0))


def _plates() -> Iterator[Plate]:
    yield Plate("sphenoid septum", 0, (0.0, -4.0, -7.0), (3.5, 3.5), 0.6)
    yield Plate("sella floor", 2, (0.0, 2.0, 2.0), (3.0, 3.0), 0.7)
    for side, s in _both_sides():
        yield Plate(f"{side} cribriform plate", 2, (s * 2.6, -42.0, ROOF_MM - 0.4), (1.3, 12.0), 0.8)
        yield Plate(f"{side} lamina papyracea", 0, (s * MEDIAL_MM, -43.0, 4.0), (11.0, 6.0), 0.3)
        yield Plate(f"{side} orbital roof", 2, (s * 22.0, -40.0, ROOF_MM - 0.25), (3.4, 3.4), 0.5)
        yield Plate(f"{side} orbital floor", 2, (s * 27.0, -54.0, FLOOR_MM), (4.0, 6.5), 0.4)
        yield Plate(f"{side} fovea ethmoidalis", 2, (s * 8.5, -42.5, ROOF_MM - 0.25), (2.2, 3.0), 0.5)
        yield Plate(f"{side} ethmoid wall", 0, (s * 5.0, -42.5, 12.0), (3.0, 5.0), 0.4)
        for number, y in enumerate((-47.0, -38.0, -29.0), start=1):
            yield Plate(f"{side} ethmoid septum {number}", 1, (s * 8.5, y, 12.0), (2.4, 5.0), 0.4)
        yield Plate(f"{side} tegmen tympani", 2, (s * 46.0, 26.0, 3.0), (3.0, 4.0), 1.0)


def _canals() -> Iterator[Canal]:
    for side, s in _both_sides():

        def canal(name: str, radius_mm: float, *path: Point, side: str = side, s: float = s) -> Canal:
            return Canal(f"{side} {name}", tuple((s * x, y, z) for x, y, z in path), radius_mm)

        yield canal("optic canal", 2.0, (15.0, -20.0, 11.0), (8.0, -4.0, 14.0))
        yield canal("foramen rotundum", 1.4, (21.0, -8.0, 0.0), (19.0, -29.0, -4.0))
        yield canal("foramen ovale", 2.0, (24.0, 4.0, -7.0), (27.0, 7.0, -25.0))
        yield canal("foramen spinosum", 0.9, (33.0, 11.0, -6.0), (35.0, 12.0, -25.0))
        yield canal("vidian canal", 0.75, (11.0, 7.0, -17.0), (11.0, -19.0, -15.0))
        yield canal("internal acoustic meatus", 2.0, (19.0, 34.0, 0.0), (33.0, 24.5, 0.0))
        yield canal("labyrinthine facial canal", 0.5, (33.0, 24.5, 0.0), (37.5, 20.0, 1.5), (41.5, 24.0, 0.5))
        yield canal("vestibular aqueduct", 0.5, (31.0, 38.0, 0.0), (38.5, 28.0, 0.0))
        yield canal("hypoglossal canal", 1.9, (9.0, 49.0, -31.0), (24.0, 39.0, -42.0))
        yield canal("carotid canal", 2.5, (30.0, 20.0, -27.0), (30.0, 19.0, -7.0), (15.0, 12.0, -5.0))
        yield canal("condylar canal", 0.8, (24.0, 70.0, -24.0), (29.0, 73.0, -42.0))


PLATES = tuple(_plates())
CANALS = tuple(_canals())


def draw_head(slab: Slab, random: np.random.Generator) -> None:
    """Draw the whole head into ``slab``; ``random`` must be in the same state for every slab of one head."""
    _soft_parts(slab)
    _face(slab)
    _cranium(slab)
    _base_solids(slab)
    _spine(slab)
    _orbits(slab)
    _ethmoid(slab)
    _sphenoid_sinus(slab)
    _temporal_spaces(slab, random)
    for canal in CANALS:
        slab.carve_path(canal.path_mm, canal.radius_mm, MUSCLE_HU)


def _soft_parts(slab: Slab) -> None:
    slab.fill(slab.ellipsoid((0, 17, 30), (77, 90, 82)), MUSCLE_HU)
    slab.fill(slab.ellipsoid((0, -30, -30), (58, 46, 62)), MUSCLE_HU)
    slab.fill(slab.ellipsoid((0, -68, -16), (13, 14, 22)), MUSCLE_HU)
    slab.fill(slab.column((0, 32), (58, 58), -200, -25), MUSCLE_HU)
    slab.fill(slab.column((0, -2), (9, 6), -200, -34), AIR_HU)


def _cranium(slab: Slab) -> None:
    vault = np.maximum(slab.ellipsoid((0, 17, 38), (66, 78, 62)), ROOF_MM - slab.z)
    bowls = [
        slab.ellipsoid((0, 58, 8), (54, 40, 46)),
        slab.ellipsoid((0, 6, 22), (20, 16, 12)),
        slab.ellipsoid((0, 2, 10), (7, 6, 7)),
    ]
    for _, s in _both_sides():
        bowls.append(slab.ellipsoid((s * 36, 2, 14), (24, 24, 28)))
        bowls.append(slab.ellipsoid((s * 45, 28, 22), (20, 22, 14)))
    cavity = vault
    for bowl in bowls:
        cavity = np.minimum(cavity, bowl)
    thickness = np.clip(3.0 + (slab.z - 5) / 12, 3.0, 5.5) + 2.0 * np.clip((slab.y - 60) / 40, 0, 1)
    slab.solid(cavity - thickness, 2.2)
    slab.hollow(cavity, BRAIN_HU)


def _base_solids(slab: Slab) -> None:
    """What rises into the cranial cavity or hangs below it."""
    slab.ball((0, -3, -8), (19, 17, 14), 1.5)
    slab.bar((0, 14, 3), (0, 37, -35), 6.0)
    slab.box((-8, 10.5, 0), (8, 13, 16))
    slab.bar((-7, 12, 16), (7, 12, 16), 1.7)
    for _, s in _both_sides():
        slab.bar((s * 11, -14, 18), (s * 10, -3, 16), 2.1)
        slab.bar((s * 14, 15, -3), (s * 60, 36, -3), 10.0)
        slab.ball((s * 25, -17, -4), (17, 10, 15))
        slab.ball((s * 30, 8, -16), (20, 16, 8))
        slab.ball((s * 56, 38, -16), (12, 15, 24))
        slab.bar((s * 11, -20, -14), (s * 14, -20, -38), 2.0)
        slab.ball((s * 17, 47, -42), (7, 12, 7))
        slab.ball((s * 28, 62, -34), (11, 18, 5))
        slab.bar((s * 44, 10, -10), (s * 60, 4, -14), 4.0)
        slab.bar((s * 60, 4, -14), (s * 56, -40, -14), 2.6)
        slab.carve_path(((s * 25, 33, -12), (s * 29, 31, -32)), 4.0, MUSCLE_HU)
    slab.carve(slab.column((0, 56), (15, 17.5), -70, -22), FLUID_HU)


def _face(slab: Slab) -> None:
    slab.ball((0, -44, -12), (42, 26, 34), 1.5)
    slab.carve(slab.ellipsoid((0, -18, -34), (22, 26, 16)), MUSCLE_HU)
    for _, s in _both_sides():
        slab.bar((s * 56, -40, -14), (s * 42, -60, -10), 5.0)
        slab.bar((s * 44, -50, -8), (s * 46, -46, 22), 3.5)
        slab.bar((s * 10, -66, 20), (s * 44, -54, 22), 3.5)
        slab.bar((s * 4, -66, 18), (s * 3, -74, 0), 2.0)
        slab.bar((s * 50, 6, -24), (s * 44, -12, -66), 5.5)
        slab.bar((s * 44, -12, -66), (s * 12, -58, -76), 6.5)
        slab.ball((s * 50, 7, -21), (9, 5, 5))
        slab.carve(slab.ellipsoid((s * 29, -48, -27), (14, 17, 14)), AIR_HU)
        slab.carve(slab.ellipsoid((s * 29, -54, -18), (11, 12, 6)), AIR_HU)
        for tooth in range(7):
            angle = 0.15 + tooth * 0.21
            x, y = 24 * np.sin(angle), -30 - 34 * np.cos(angle)
            slab.ball((s * x, y, -46), (2.8, 2.8, 6), hu=TOOTH_HU)
            slab.ball((s * x, y, -60), (2.8, 2.8, 6), hu=TOOTH_HU)
    slab.bar((-14, -57, -77), (14, -57, -77), 6.5)
    nose = np.maximum(slab.ellipsoid((0, -44, -12), (14, 34, 24)), slab.z - 4)
    slab.carve(nose, AIR_HU)
    slab.box((-0.6, -64, -36), (0.6, -22, 19))


def _spine(slab: Slab) -> None:
    slab.bar((0, 40, -50), (0, 42, -62), 5.0)
    slab.ball((0, 43, -72), (12, 9, 12))
    for _, s in _both_sides():
        slab.ball((s * 20, 46, -55), (8, 9, 5.0))
        slab.ball((s * 20, 48, -70), (8, 8, 6))
        slab.bar((s * 20, 50, -56), (s * 10, 74, -57), 3.2)
        slab.bar((s * 18, 54, -71), (s * 4, 80, -74), 3.5)
        slab.bar((s * 26, 46, -56), (s * 38, 48, -57), 3.5)
    slab.bar((-10, 74, -57), (10, 74, -57), 3.2)
    slab.bar((-9, 36, -56), (9, 36, -56), 2.8)
    slab.carve(slab.column((0, 62), (11, 10), -120, -44), FLUID_HU)


def _orbits(slab: Slab) -> None:
    for _, s in _both_sides():
        part = slab.part((min(s * 10, s * 56), -90, FLOOR_MM - 3), (max(s * 10, s * 56), -8, ROOF_MM + 3))
        if part is None:
            continue
        cone = part.cone((s * 13, -16, 10), (s * 31, -64, 3.5), 4.0, 20.0)
        inner = np.maximum(cone, MEDIAL_MM - s * part.x)
        space = np.maximum(np.maximum(inner, part.z - ROOF_MM), np.maximum(FLOOR_MM - part.z, -72 - part.y))
        part.carve(space, FAT_HU)
        below = np.maximum(abs(part.x - s * 29) - 9, abs(part.y + 54) - 10)
        part.carve(np.maximum(below, abs(part.z - FLOOR_MM + 3) - 3), AIR_HU)
        part.fill(part.ellipsoid((s * 31, -62, 3.5), (12, 12, 12)), FLUID_HU)
        part.plate(2, ROOF_MM - 0.25, 0.5, inner)
        part.plate(2, FLOOR_MM, 0.4, inner)


def _ethmoid(slab: Slab) -> None:
    part = slab.part((-MEDIAL_MM - 3, -60, -12), (MEDIAL_MM + 3, -14, ROOF_MM + 3))
    if part is None:
        return
    length = np.maximum(-57 - part.y, part.y + 19)
    width = abs(part.x) - MEDIAL_MM
    labyrinth = np.maximum(np.maximum(width, length), np.maximum(part.z - ROOF_MM, -8 - part.z))
    part.carve(labyrinth, AIR_HU)
    lateral = np.maximum(labyrinth, 5 - abs(part.x))
    orbit_side = np.maximum(length, np.maximum(part.z - ROOF_MM, -10 - part.z))
    for _, s in _both_sides():
        part.plate(0, s * MEDIAL_MM, 0.3, orbit_side)
        part.plate(0, s * 5, 0.4, np.maximum(orbit_side, -8 - part.z))
    for y in (-47, -38, -29):
        part.plate(1, y, 0.4, lateral)
    part.plate(2, 5, 0.3, lateral)
    part.plate(2, ROOF_MM - 0.4, 0.8, np.maximum(length, abs(part.x) - 5))
    part.plate(2, ROOF_MM - 0.25, 0.5, np.maximum(length, np.maximum(width, 5 - abs(part.x))))
    part.box((-0.5, -57, -8), (0.5, -19, ROOF_MM))


def _sphenoid_sinus(slab: Slab) -> None:
    part = slab.part((-18, -22, -22), (18, 12, 12))
    if part is None:
        return
    sinus = np.minimum(part.ellipsoid((7, -4, -7), (8.5, 11, 8)), part.ellipsoid((-7, -4, -7), (8.5, 11, 8)))
    part.carve(sinus, AIR_HU)
    middle = np.maximum(np.maximum(abs(part.x), abs(part.y + 4)), abs(part.z + 7)) - 5
    part.carve(middle, AIR_HU)
    part.plate(0, 0.0, 0.6, part.ellipsoid((0, -4, -7), (9, 11, 9)))
    dent = np.maximum(np.maximum(abs(part.x) - 4.5, abs(part.y - 2) - 4.5), abs(part.z - 3) - 5)
    above, below = np.maximum(dent, 2 - part.z), np.maximum(dent, part.z - 2)
    part.carve(above, BRAIN_HU)
    part.carve(below, AIR_HU)
    part.plate(2, 2.0, 0.7, np.maximum(abs(part.x) - 5, abs(part.y - 2) - 5))


def _temporal_spaces(slab: Slab, random: np.random.Generator) -> None:
    for _, s in _both_sides():
        cells = zip(random.uniform(-1, 1, (70, 3)), random.uniform(1.2, 3.2, 70), strict=True)
        for place, radius in cells:
            if np.linalg.norm(place) < 0.9:
                centre = (s * (56 + 8 * place[0]), 40 + 10 * place[1], -18 + 17 * place[2])
                slab.carve_path((centre, centre), float(radius), AIR_HU)
        part = slab.part((min(s * 36, s * 56), 14, -18), (max(s * 36, s * 56), 40, 14))
        if part is not None:
            part.carve(part.ellipsoid((s * 46, 26, -4), (5, 7, 6)), AIR_HU)
            shaft = np.maximum(abs(part.x - s * 46) - 4, abs(part.y - 26) - 5)
            part.carve(np.maximum(shaft, abs(part.z - 8) - 5), BRAIN_HU)
            part.carve(np.maximum(shaft, abs(part.z - 0) - 3), AIR_HU)
            part.plate(2, 3.0, 1.0, shaft - 1)
        slab.carve_path(((s * 48, 26, -5), (s * 82, 22, -6)), 3.4, AIR_HU)
