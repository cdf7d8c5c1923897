"""The orbital roof: how much of it is found, holes per cm2, and whether left and right agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from benchmarks.real.methods import Levels
from sbnode.inference.skull_frame import SkullFrame

LEFT_MM, BACK_MM = (20.0, 36.0), (-70.0, -54.0)
"""Where the roof lies over the orbit, mm to the side and back from the basion."""
UP_MM = (28.0, 60.0)
"""A ray runs from the middle of the orbit up into the skull."""
STEP_MM = 0.4
LEAST_RAYS = 4
"""Fewer neighbouring rays without bone, 0.6 mm2, are no hole."""


@dataclass(frozen=True)
class Roof:
    """Share of the rays that meet bone, and holes per cm2, of one side."""

    found: float
    holes_per_cm2: float


def roof(levels: Levels, method: str, frame: SkullFrame, side: int) -> Roof | None:
    """Score one side (+1 the patient's left); None where the scan doesn't show it."""
    left, back = np.arange(*LEFT_MM, STEP_MM) * side, np.arange(*BACK_MM, STEP_MM)
    up = np.arange(*UP_MM, 0.5 * STEP_MM)
    place = np.stack(np.meshgrid(back, left, up, indexing="ij"), axis=-1)[..., [1, 0, 2]]
    points = frame.to_patient(place)
    index = levels.grid.to_index(points)
    if np.any(index < 0) or np.any(index > np.array(levels.grid.shape) - 1):
        return None
    met = (levels.at(method, points) > 0).any(axis=-1)
    labels, count = ndimage.label(~met)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    area_cm2 = met.size * STEP_MM**2 / 100
    return Roof(float(met.mean()), float(np.count_nonzero(sizes >= LEAST_RAYS) / area_cm2))
