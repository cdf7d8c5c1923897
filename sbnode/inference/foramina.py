"""The named openings of the skull base: where they are, how wide, by the ring of bone about each.

Each is sought near its expected place in the frame of the skull. An opening counts as found when bone lies all around
it and nothing in its way, at a place, of a size and in a direction that suit it. What is in doubt is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sbnode.inference.bone import Bone, Foramen, Side
from sbnode.inference.quality import Quality
from sbnode.inference.skull_frame import SkullFrame, circle, probe
from sbnode.inference.volume import Volume

__all__ = ["find_foramina"]

Points = NDArray[np.float64]

SIDES: tuple[Side, Side] = ("left", "right")
MIRRORS: dict[Side, Points] = {"left": np.array([1.0, 1.0, 1.0]), "right": np.array([-1.0, 1.0, 1.0])}
"""From a place of the left side to one of either."""
REACH_MM = 8.0
"""An opening is sought so far around its expected place, in steps of ``STEP_MM``."""
STEP_MM = 1.0
TILTS = ((0.0, 1), (15.0, 6), (30.0, 8))
"""Degrees from the expected direction, and how many directions around it are tried."""
RAYS = 24
RIM_MARGIN = 1.3
"""Rays end at the largest radius times this."""
LEAST_RIM = 0.9
"""This share of the rays must meet bone."""
MAGNUM_MM = (18.0, 38.0)
"""The largest circle in a foramen magnum is as wide as this."""
PAIR_MM = 7.0
"""The two of a pair lie at mirrored places, to within this; otherwise the one that lies further off is left out."""
PLACE_WEIGHT = 0.03
"""A mm off the expected place costs as much as this share of the rim."""
UNEVEN_WEIGHT = 0.12
"""So does this share of a radius by which opposite rays differ."""
FREE_WAY_MM = 0.8
"""The way through is looked at on its axis and so far beside it."""
AIR_HU = -300.0
"""The middle of an opening holds soft tissue; an air cell is none."""
SECTION_MM, SECTION_STEP_MM = 2.4, 0.4
"""The calibre is the least of sections so far to both sides."""
PIXEL_MM = 0.2


@dataclass(frozen=True, slots=True)
class _Site:
    """Where an opening of the left side is expected: mm to the left, back and up from the basion.

    ``axis`` is its direction, from inside the skull outwards; ``radius_mm`` the mean radius that suits it, ``way_mm``
    how far it is free outwards and inwards, and ``width_mm`` its usual smaller width.
    """

    name: str
    place_mm: tuple[float, float, float]
    axis: tuple[float, float, float]
    radius_mm: tuple[float, float]
    way_mm: tuple[float, float]
    width_mm: float


# Places: means over both sides of the two heads in `python -m benchmarks.real`, which prints what is found there.
# Radii: wide about the usual sizes.
SITES = (
    _Site("foramen ovale", (26.8, -22.5, 15.3), (0.3, 0.0, -1.0), (1.6, 4.4), (5.0, 5.0), 3.7),
    _Site("foramen rotundum", (22.5, -35.5, 21.8), (0.2, -1.0, -0.2), (1.2, 2.6), (4.0, 4.0), 3.0),
    _Site("carotid canal", (27.8, -5.0, 9.8), (0.0, 0.0, -1.0), (2.2, 4.6), (6.0, 1.0), 5.4),
    _Site("internal acoustic meatus", (27.0, 2.0, 20.5), (-1.0, 0.0, 0.0), (1.6, 4.4), (7.0, 2.0), 4.0),
    _Site("jugular foramen", (27.5, 5.8, 5.8), (0.3, -0.3, -0.9), (2.8, 7.5), (6.0, 6.0), 7.0),
    _Site("hypoglossal canal", (16.7, 5.3, 3.8), (0.75, -0.6, -0.3), (1.6, 4.4), (5.0, 5.0), 4.0),
)


@dataclass(frozen=True, slots=True)
class _Ring:
    """A ring of bone: its middle in patient mm and in the frame, mirrored to the left; its axis; how good it is."""

    middle_mm: Points
    place_mm: Points
    axis: Points
    radius_mm: float
    rim: float
    score: float
    away_mm: float


def find_foramina(bone: Bone, frame: SkullFrame, volume: Volume, measured: Quality) -> tuple[Foramen, ...]:
    """Return the foramen magnum and what was found of ``SITES``, in this order, the left one of a pair first.

    Nothing where the foramen magnum has no size that it can have: then the frame is wrong. An opening that looks
    narrower than the scan's blur doesn't count. One that wasn't found within the scan, and is usually narrower than two
    slices, is called not resolvable.

    Args:
        bone: the bone on the fine grid.
        frame: the frame of the skull.
        volume: the scan, which tells an opening from an air cell.
        measured: what the scan resolves.
    """
    magnum = _magnum(frame, bone)
    if not MAGNUM_MM[0] <= (magnum.calibre_mm or 0.0) <= MAGNUM_MM[1]:
        return ()
    blur_mm = max(measured.slice_mm, measured.fwhm_mm or 0.0)
    mask = bone.level > 0
    found = [magnum]
    for site in SITES:
        rings = {side: _ring(bone, mask, frame, volume, site, side) for side in SIDES}
        agreeing = _agreeing(rings)
        for side in SIDES:
            opening = _described(bone, site, side, agreeing[side]) if side in agreeing else None
            if opening is not None and (opening.calibre_mm or 0.0) >= blur_mm:
                found.append(opening)
            elif (
                (opening is not None or rings[side] is None)
                and site.width_mm < 2 * measured.slice_mm
                and _shown(bone, frame, site, side)
            ):
                found.append(Foramen(site.name, side, "not resolvable at this slice thickness"))
    return tuple(found)


def _shown(bone: Bone, frame: SkullFrame, site: _Site, side: Side) -> bool:
    """Whether the grid, which ends where the scan does, holds the expected place and what is about it."""
    index = bone.grid.to_index(frame.to_patient(np.array(site.place_mm) * MIRRORS[side]))
    margin = REACH_MM / bone.grid.spacing_mm
    return bool(np.all((index >= margin) & (index <= np.array(bone.grid.shape) - 1 - margin)))


def _agreeing(rings: dict[Side, _Ring | None]) -> dict[Side, _Ring]:
    """Of a pair that doesn't mirror, only the one nearer to its expected place."""
    found = {side: ring for side, ring in rings.items() if ring is not None}
    if len(found) == 2:
        apart = float(np.linalg.norm(found["left"].place_mm - found["right"].place_mm))
        if apart > PAIR_MM:
            nearer = min(found, key=lambda side: found[side].away_mm)
            return {nearer: found[nearer]}
    return found


def _ring(
    bone: Bone, mask: NDArray[np.bool_], frame: SkullFrame, volume: Volume, site: _Site, side: Side
) -> _Ring | None:
    """The best ring near the expected place of one side, or None."""
    mirror = MIRRORS[side]
    reach = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
    offsets = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = offsets[np.linalg.norm(offsets, axis=1) <= REACH_MM]
    middles = frame.to_patient((np.array(site.place_mm) + offsets) * mirror)
    free = ~probe(mask, bone.grid, middles)
    offsets, middles = offsets[free], middles[free]
    best: _Ring | None = None
    for axis in _directions(np.array(site.axis) * mirror @ frame.axes):
        ring = _best_about(bone, mask, middles, offsets, axis, site, volume)
        if ring is not None and (best is None or ring.score > best.score):
            best = ring
    return best


def _directions(axis: Points) -> list[Points]:
    """Unit vectors about an axis, by ``TILTS``."""
    axis = axis / np.linalg.norm(axis)
    across, along = _span(axis)
    found = []
    for degrees, count in TILTS:
        around = circle(across, along, count)
        found += list(np.cos(np.radians(degrees)) * axis + np.sin(np.radians(degrees)) * around)
    return found


def _span(axis: Points) -> tuple[Points, Points]:
    """Two unit vectors that span the plane across an axis."""
    helper = np.eye(3)[np.abs(axis).argmin()]
    across = np.cross(axis, helper)
    across /= np.linalg.norm(across)
    return across, np.cross(axis, across)


def _best_about(
    bone: Bone,
    mask: NDArray[np.bool_],
    middles: Points,
    offsets: Points,
    axis: Points,
    site: _Site,
    volume: Volume,
) -> _Ring | None:
    """The best ring across one axis."""
    across, along = _span(axis)
    way = np.concatenate([np.arange(0.5, site.way_mm[0] + 0.1, 0.5), -np.arange(0.5, site.way_mm[1] + 0.1, 0.5)])
    beside = np.vstack([np.zeros(3), FREE_WAY_MM * circle(across, along, 4)])
    line = (way[:, None, None] * axis + beside).reshape(-1, 3)
    blocked = probe(mask, bone.grid, middles[:, None] + line).mean(axis=1)
    kept = np.flatnonzero(blocked < 0.03)
    if not kept.size:
        return None
    radii = np.arange(0.4, site.radius_mm[1] * RIM_MARGIN + 0.4, 0.4)
    rays = circle(across, along, RAYS)
    met = probe(mask, bone.grid, middles[kept, None, None] + radii[:, None] * rays[:, None])
    hit = met.any(axis=-1)
    distance = np.where(hit, radii[met.argmax(axis=-1)], radii[-1])
    radius, rim = np.median(distance, axis=1), hit.mean(axis=1)
    uneven = np.abs(distance - np.roll(distance, RAYS // 2, axis=1)).mean(axis=1) / radius
    away = np.linalg.norm(offsets[kept], axis=1)
    suits = (rim >= LEAST_RIM) & (radius >= site.radius_mm[0]) & (radius <= site.radius_mm[1])
    score = np.where(suits, rim - UNEVEN_WEIGHT * uneven - PLACE_WEIGHT * away, -np.inf)
    for k in np.argsort(-score)[:3]:
        if np.isfinite(score[k]) and _soft(volume, middles[kept[k]]):
            place = np.array(site.place_mm) + offsets[kept[k]]
            return _Ring(
                middles[kept[k]], place, axis, float(radius[k]), float(rim[k]), float(score[k]), float(away[k])
            )
    return None


def _soft(volume: Volume, point_mm: Points) -> bool:
    """Whether a point holds no air."""
    index = np.rint(volume.stack.to_index(point_mm)).astype(int)
    k, row, column = np.clip(index, 0, np.array(volume.hu.shape) - 1)
    return bool(volume.hu[k, row, column] > AIR_HU)


def _described(bone: Bone, site: _Site, side: Side, ring: _Ring) -> Foramen:
    middle, calibre = _narrowest(bone, ring.middle_mm, ring.axis, ring.radius_mm)
    x, y, z = (round(float(v), 1) for v in middle)
    return Foramen(site.name, side, "open", (x, y, z), round(calibre, 1), round(ring.rim, 2), round(ring.away_mm, 1))


def _narrowest(
    bone: Bone, middle_mm: Points, axis: Points, radius_mm: float, reach_mm: float = SECTION_MM
) -> tuple[Points, float]:
    """Middle and diameter of the largest free circle in the narrowest of the sections to both sides of a ring."""
    across, along = _span(axis)
    reach = np.arange(-1.6 * radius_mm, 1.6 * radius_mm, PIXEL_MM)
    flat = reach[None, :, None] * across + reach[:, None, None] * along
    inside = np.hypot(reach[None, :], reach[:, None]) <= radius_mm
    best = (middle_mm, np.inf)
    for shift_mm in np.arange(-reach_mm, reach_mm + SECTION_STEP_MM / 2, SECTION_STEP_MM):
        points = middle_mm + shift_mm * axis + flat
        level = ndimage.map_coordinates(
            bone.level, np.moveaxis(bone.grid.to_index(points), -1, 0), order=1, mode="nearest"
        )
        free_mm = ndimage.distance_transform_edt(level <= 0) * PIXEL_MM * inside
        row, column = np.unravel_index(int(free_mm.argmax()), free_mm.shape)
        diameter = 2 * float(free_mm[row, column])
        if diameter < best[1]:
            best = (points[row, column], diameter)
    return best


def _magnum(frame: SkullFrame, bone: Bone) -> Foramen:
    """The foramen magnum: the largest circle that fits into its plane."""
    middle = frame.to_patient(np.array([0.0, frame.length_mm / 2, 0.0]))
    place, calibre = _narrowest(bone, middle, frame.axes[2], frame.length_mm / 2, reach_mm=0.0)
    x, y, z = (round(float(v), 1) for v in place)
    return Foramen("foramen magnum", "", "open", (x, y, z), round(calibre, 1))
