"""The region network: a small 3-D U-Net that sees a whole head at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sbnode.inference.region import BONES
from training.network import depth_to_space, space_to_depth

__all__ = ["RegionNet"]

WIDTHS = (16, 32, 64, 96)
"""Channels at 6, 12, 24 and 48 mm."""


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # Group normalisation: the statistics of one volume, in training as in use.
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
    )


@dataclass(frozen=True)
class Answer:
    """What the network says of every cell: logits of "skull base" (B, 1, ...) and of `BONES` (B, n, ...), and
    where it lies in the atlas (B, 3, ...) in mm.
    """

    base: Tensor
    bones: Tensor
    place: Tensor


PLACE_MM = 50.0
"""One unit of the last layer."""


class RegionNet(nn.Module):
    """Bone and body, (B, 2, D, H, W) at 3 mm, to an answer of the same spatial size, which is a multiple of 16."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.encode = nn.ModuleList(
            [
                nn.Sequential(_layer(16, a), _layer(a, a)),
                nn.Sequential(_layer(a, b, 2), _layer(b, b)),
                nn.Sequential(_layer(b, c, 2), _layer(c, c)),
                nn.Sequential(_layer(c, d, 2), _layer(d, d)),
            ]
        )
        self.decode = nn.ModuleList([_layer(d + c, c), _layer(c + b, b), _layer(b + a, a)])
        self.head = nn.Conv3d(a + 16, 8 * (4 + len(BONES)), 3, padding=1)

    def forward(self, channels: Tensor) -> Answer:
        """Return what the network says."""
        levels = []
        field = cells = space_to_depth(channels)
        for stage in self.encode:
            field = stage(field)
            levels.append(field)
        for stage, skip in zip(self.decode, reversed(levels[:-1]), strict=True):
            field = stage(torch.cat([_double(field), skip], dim=1))
        said = depth_to_space(self.head(torch.cat([field, cells], dim=1)))
        return Answer(base=said[:, :1], bones=said[:, 4:], place=PLACE_MM * said[:, 1:4])


def _double(field: Tensor) -> Tensor:
    return functional.interpolate(field, scale_factor=2.0, mode="trilinear", align_corners=False)
