"""What the model says about each fine cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sbnode.inference.geometry import Grid

__all__ = ["Occupancy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """The model's outputs on a fine grid, float16 arrays of shape ``grid.shape``, each 0..1.

    ``bone`` is the fraction of the cell that is bone, ``sheet`` the evidence of bone thinner than 1 mm, ``lumen``
    the evidence of a canal, hole or narrow gap.
    """

    grid: Grid
    bone: NDArray[np.float16]
    sheet: NDArray[np.float16]
    lumen: NDArray[np.float16]
