"""Suite S1, the chart: parallel plates and straight canals of known size, any orientation, one medium on each side."""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.grammar import PAIRS_HU
from benchmarks.accuracy.phantom import Frame, Phantom, Samples, cover, random_frame, straight

PLATES_MM = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0)
CANALS_MM = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0)
LEVELS_MM = (-5.0, 0.0, 5.0)
SITES_MM = ((0.0, 0.0), (-4.4, -4.4), (-4.4, 4.4), (4.4, -4.4), (4.4, 4.4))
HALF_SLAB_MM = 4.0
BONE_HU = 1300.0


def plates(random: np.random.Generator) -> Phantom:
    """Three plates, 5 mm apart, with the two media of a pair in turn between them."""
    phantom, frame, pair = _start(random)
    *_, w = frame.local()
    for level, hu in zip(LEVELS_MM, (pair[1], pair[0], pair[1]), strict=True):
        phantom.put(cover(np.float32(level) - w), hu)
    for level, thickness in zip(LEVELS_MM, random.choice(PLATES_MM, 3, replace=False), strict=True):
        phantom.put(cover(np.abs(w - np.float32(level)) - np.float32(0.5 * thickness)), BONE_HU, bone=True)
        local = np.column_stack([random.uniform(-7.0, 7.0, (300, 2)), np.full(300, level)])
        phantom.add_plate(
            Samples(
                points_mm=frame.to_scene(local),
                normals=frame.turn(np.tile([0.0, 0.0, 1.0], (300, 1))),
                thickness_mm=np.full(300, float(thickness)),
            )
        )
    return phantom


def canals(random: np.random.Generator) -> Phantom:
    """A slab of 8 mm with five canals of different calibre straight through it, filled with soft tissue."""
    phantom, frame, pair = _start(random)
    u, v, w = frame.local()
    phantom.put(cover(-w), pair[1])
    phantom.put(cover(np.abs(w) - np.float32(HALF_SLAB_MM)), BONE_HU, bone=True)
    for (at_u, at_v), calibre in zip(SITES_MM, random.choice(CANALS_MM, 5, replace=False), strict=True):
        away = np.hypot(u - np.float32(at_u), v - np.float32(at_v)) - np.float32(0.5 * calibre)
        phantom.put(cover(np.maximum(away, np.abs(w) - np.float32(HALF_SLAB_MM))), float(random.choice([10.0, 40.0])))
        start, along = np.array([at_u, at_v, -HALF_SLAB_MM]), np.array([0.0, 0.0, 1.0])
        phantom.add_canal(straight(frame, start, along, 2 * HALF_SLAB_MM, 0.5 * float(calibre)))
    return phantom


def _start(random: np.random.Generator) -> tuple[Phantom, Frame, tuple[float, float]]:
    pair = PAIRS_HU[int(random.integers(len(PAIRS_HU)))]
    return Phantom.filled(pair[0]), random_frame(random), pair


KINDS = {"plates": plates, "canals": canals}
