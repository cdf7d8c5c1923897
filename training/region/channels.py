"""What the region network sees of a scan: how much bone and how much body there is in cells of 3 mm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sbnode.inference.region import BODY_HU, BONE_HU, CELL_MM

__all__ = ["FINE_MM", "to_channels"]

FINE_MM = CELL_MM / 2
"""The simulated scans have voxels of half a cell."""


def to_channels(hu: Tensor) -> Tensor:
    """Return the two channels, (2, z, y, x), of a scan with voxels of half a cell (2 z, 2 y, 2 x)."""
    parts = [((hu - low) / (high - low)).clamp(0, 1) for low, high in (BONE_HU, BODY_HU)]
    return functional.avg_pool3d(torch.stack(parts), 2)
