"""Where two surfaces differ most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["places"]

BLOCK_MM = 2.0
"""Edge of the blocks in which differences are added up; three of them in each direction make a place."""
APART_MM = 18.0
"""Two places are at least so far apart, so that their pictures show different things."""
LEAST_MM = 0.1
"""A place is shown when a point of it lies at least this far from the other surface."""

Points = NDArray[np.float64]


def places(points_mm: Points, away_mm: NDArray[np.float64], count: int) -> Points:
    """Return up to ``count`` points where the surfaces differ most, patient mm, shape (n, 3), the largest first.

    Differences are weighed by the square of their distance: a thin plate that one has and the other hasn't is found
    before a surface that lies a little deeper everywhere.

    Args:
        points_mm: points of both surfaces.
        away_mm: distance of each to the other surface.
        count: how many are wanted.
    """
    far = away_mm >= LEAST_MM
    points_mm, weight = points_mm[far], away_mm[far] ** 2
    if not len(points_mm):
        return np.empty((0, 3))
    low = points_mm.min(axis=0)
    block = ((points_mm - low) / BLOCK_MM).astype(int)
    score = np.zeros(block.max(axis=0) + 1)
    np.add.at(score, tuple(block.T), weight)
    score = ndimage.uniform_filter(score, 3, mode="constant")
    centres = (np.indices(score.shape).reshape(3, -1).T + 0.5) * BLOCK_MM + low
    ranking = score.ravel()
    found: list[Points] = []
    while len(found) < count and ranking.max() > 0:
        place = _middle(points_mm, weight, centres[int(ranking.argmax())])
        found.append(place)
        ranking[np.linalg.norm(centres - place, axis=1) < APART_MM] = 0
    return np.array(found)


def _middle(points_mm: Points, weight: NDArray[np.float64], centre: Points) -> Points:
    """The point nearest to the weighted middle of those about ``centre``."""
    near = np.abs(points_mm - centre).max(axis=1) <= 1.5 * BLOCK_MM
    middle = np.average(points_mm[near], axis=0, weights=weight[near])
    found: Points = points_mm[near][int(np.linalg.norm(points_mm[near] - middle, axis=1).argmin())]
    return found
