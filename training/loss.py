"""The loss: weighted cross-entropy, Dice, local mass, and recall of the structures at risk on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PARTIAL = (0.02, 0.98)
"""A cell between these fractions holds a surface."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the terms, and of cells that hold a surface, a sheet or a lumen."""

    partial: float = 2.0
    sheet: float = 2.0
    lumen: float = 3.0
    dice: float = 0.5
    mass: float = 2.0
    skeleton: float = 0.4
    heads: float = 0.25


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Occupancy (0..1) and marks (0 or 1) as float tensors (B, 1, D, H, W)."""

    occupancy: Tensor
    sheet: Tensor
    lumen: Tensor


def loss(logits: Tensor, truth: Truth, weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    """Total loss of logits (B, 3, D, H, W), and its terms for the log."""
    cross = functional.binary_cross_entropy_with_logits
    occupancy_logits = logits[:, 0:1]
    occupancy = torch.sigmoid(occupancy_logits)
    partial = ((truth.occupancy > PARTIAL[0]) & (truth.occupancy < PARTIAL[1])).float()
    cell = 1.0 + weights.partial * partial + weights.sheet * truth.sheet + weights.lumen * truth.lumen
    terms = {
        "cross": (cell * cross(occupancy_logits, truth.occupancy, reduction="none")).mean(),
        "dice": weights.dice * _dice(occupancy, truth.occupancy),
        "mass": weights.mass * _mass(occupancy, truth.occupancy),
        "skeleton": weights.skeleton * _skeleton(occupancy, truth),
        "sheet": weights.heads * cross(logits[:, 1:2], truth.sheet, pos_weight=logits.new_tensor(2.0)),
        "lumen": weights.heads * cross(logits[:, 2:3], truth.lumen, pos_weight=logits.new_tensor(3.0)),
    }
    total = torch.stack(list(terms.values())).sum()
    return total, {name: float(term.detach()) for name, term in terms.items()}


def _dice(occupancy: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice with squares, whose optimum is occupancy = truth in partial cells too."""
    overlap = 2.0 * (occupancy * truth).sum() + 50.0
    return 1.0 - overlap / ((occupancy**2).sum() + (truth**2).sum() + 50.0)


def _mass(occupancy: Tensor, truth: Tensor) -> Tensor:
    """Bone is neither made nor lost within 3^3 cells: areal bone is what the scan fixes best."""
    return functional.avg_pool3d(occupancy - truth, 3, stride=1).abs().mean()


def _skeleton(occupancy: Tensor, truth: Truth) -> Tensor:
    """Share of the sheets' bone that is missed plus share of the lumina's free space that is filled."""
    missed = (truth.sheet * functional.relu(truth.occupancy - occupancy)).sum()
    bone = (truth.sheet * truth.occupancy).sum()
    filled = (truth.lumen * functional.relu(occupancy - truth.occupancy)).sum()
    free = (truth.lumen * (1.0 - truth.occupancy)).sum()
    return missed / (bone + 20.0) + filled / (free + 20.0)
