"""CT numbers of what surrounds bone.

Ranges in HU at 120 kV (Bushberg et al., The Essential Physics of Medical Imaging).
"""

from __future__ import annotations

import numpy as np

MEDIA_HU: dict[str, tuple[float, float]] = {
    "brain": (25.0, 45.0),
    "fat": (-120.0, -70.0),
    "muscle": (40.0, 70.0),
    "mucosa": (5.0, 60.0),
    "fluid": (0.0, 18.0),
    "air": (-1000.0, -960.0),
}
SOFT_MEDIA = ("brain", "fat", "muscle", "mucosa", "fluid")

CONTRAST_HU = (120.0, 350.0)
"""Enhanced blood, and calcification that is not bone."""

BONE_HU = (850.0, 2000.0)
"""Compact bone of one head; single pieces vary by +-15 %."""


def medium(random: np.random.Generator, air: float = 0.25) -> float:
    """HU of a random medium; `air` is the probability of air."""
    name = "air" if random.uniform() < air else str(random.choice(SOFT_MEDIA))
    return float(random.uniform(*MEDIA_HU[name]))


def soft(random: np.random.Generator) -> float:
    """HU of a random medium other than air."""
    return medium(random, air=0.0)


def log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    """A value whose logarithm is uniform."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))
