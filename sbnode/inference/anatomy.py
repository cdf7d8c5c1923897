"""Which bone is which: the named bones of the skull base and their sides, from the region map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sbnode.inference.bone import Bone, NamedBone, Side
from sbnode.inference.region import BONES, RegionMap

__all__ = ["named_bones"]

NAMES = {
    "frontal": "frontal bone, orbital part",
    "occipital": "occipital bone",
    "temporal": "temporal bone",
    "sphenoid": "sphenoid bone",
    "ethmoid": "ethmoid bone",
}
"""What is reported, and what it is called in the region: of the frontal bone only the orbital part lies in it."""
PAIRED = ("temporal",)
LEAST_PROBABILITY = 0.6
"""Below this mean probability over a bone, the network isn't sure of its name."""
LEAST_ML = 0.5
"""Less than this is the rim of a neighbour."""
AGREEING = 0.95
"""A bone of which this share of the cells lies on one side is that side's."""
APART_MM = 65.0
"""The middles of the two sides of a paired bone lie at least this far apart in LPS x. On whole heads they lie further
apart; on a head cut at the middle, where the network takes part of the one side for the other, they lie nearer."""
STEP = 2
"""Every so many cells along each axis are looked at."""


def named_bones(bone: Bone, region: RegionMap) -> tuple[NamedBone, ...]:
    """Return the bones that the map is sure of, in the order of ``NAMES``, the left one of a pair first.

    The side is the patient's (LPS, x grows to the left), whatever the order and orientation of the slices.
    """
    cells = np.argwhere(bone.level[::STEP, ::STEP, ::STEP] > 0) * STEP
    if not len(cells):
        return ()
    points = bone.grid.to_patient(cells.astype(np.float64))
    at = np.rint(region.grid.to_index(points)).astype(int)
    at = np.clip(at, 0, np.array(region.grid.shape) - 1)
    where = (slice(None), *at.T)
    likely = region.bones[where]
    name, left = likely.argmax(axis=0), region.place_mm[where][0] > 0
    cell_ml = (STEP * bone.grid.spacing_mm) ** 3 / 1000
    found: list[NamedBone] = []
    for key, title in NAMES.items():
        index = BONES.index(key)
        for side, chosen in _sides(key, name == index, points, left):
            volume_ml = float(np.count_nonzero(chosen)) * cell_ml
            if volume_ml >= LEAST_ML and (probability := float(likely[index][chosen].mean())) >= LEAST_PROBABILITY:
                found.append(NamedBone(title, side, round(volume_ml, 2), round(probability, 2)))
    return tuple(found)


def _sides(
    key: str, chosen: NDArray[np.bool_], points_mm: NDArray[np.float64], left: NDArray[np.bool_]
) -> list[tuple[Side, NDArray[np.bool_]]]:
    """Split a paired bone into its sides: two where they lie apart as they should, one where nearly all agree.

    Otherwise the side is left open: silence is better than a swap.
    """
    if key not in PAIRED or not chosen.any():
        return [("", chosen)]
    share = float(left[chosen].mean())
    if share >= AGREEING or share <= 1 - AGREEING:
        return [("left" if share >= AGREEING else "right", chosen)]
    sides: list[tuple[Side, NDArray[np.bool_]]] = [("left", chosen & left), ("right", chosen & ~left)]
    apart_mm = points_mm[sides[0][1], 0].mean() - points_mm[sides[1][1], 0].mean()
    return sides if apart_mm >= APART_MM else [("", chosen)]
