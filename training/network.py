"""The occupancy network: a fully convolutional 3-D U-Net with a space-to-depth stem."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

OUTPUT_NAMES = ("occupancy", "sheet", "lumen")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """Width of the network and the HU window it sees.

    `channels` are the widths at 0.8, 1.6 and 3.2 mm when the input is at 0.4 mm.
    """

    channels: tuple[int, int, int] = (32, 64, 96)
    window_hu: tuple[float, float] = (-1000.0, 2000.0)


def space_to_depth(field: Tensor) -> Tensor:
    """(B, C, D, H, W) to (B, 8 C, D/2, H/2, W/2); D, H and W are even."""
    batch, channels, depth, height, width = field.shape
    cells = field.reshape(batch, channels, depth // 2, 2, height // 2, 2, width // 2, 2)
    cells = cells.permute(0, 1, 3, 5, 7, 2, 4, 6)
    return cells.reshape(batch, channels * 8, depth // 2, height // 2, width // 2)


def depth_to_space(field: Tensor) -> Tensor:
    """(B, 8 C, D, H, W) to (B, C, 2 D, 2 H, 2 W): the inverse of `space_to_depth`."""
    batch, channels, depth, height, width = field.shape
    cells = field.reshape(batch, channels // 8, 2, 2, 2, depth, height, width)
    cells = cells.permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cells.reshape(batch, channels // 8, depth * 2, height * 2, width * 2)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm3d(outputs, momentum=0.05),
        nn.ReLU(inplace=True),
    )


class OccupancyNet(nn.Module):
    """HU scaled to [-1, 1], (B, 1, D, H, W), to logits (B, 3, D, H, W).

    D, H and W are multiples of 8. The three channels are named by `OUTPUT_NAMES`.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        fine, middle, coarse = spec.channels
        self.stem = _block(8, fine)
        self.encode_fine = _block(fine, fine)
        self.encode_middle = nn.Sequential(_block(fine, middle, 2), _block(middle, middle))
        self.encode_coarse = nn.Sequential(_block(middle, coarse, 2), _block(coarse, coarse), _block(coarse, coarse))
        self.rise_middle = nn.Conv3d(coarse, middle, 1)
        self.decode_middle = _block(middle, middle)
        self.rise_fine = nn.Conv3d(middle, fine, 1)
        self.decode_fine = nn.Sequential(_block(fine, fine), _block(fine, fine))
        self.head = nn.Conv3d(fine, 8 * len(OUTPUT_NAMES), 3, padding=1)

    def forward(self, scaled: Tensor) -> Tensor:
        """Logits of a block of scaled HU."""
        fine = self.encode_fine(self.stem(space_to_depth(scaled)))
        middle = self.encode_middle(fine)
        coarse = self.encode_coarse(middle)
        middle = self.decode_middle(middle + _double(self.rise_middle(coarse)))
        fine = self.decode_fine(fine + _double(self.rise_fine(middle)))
        logits: Tensor = depth_to_space(self.head(fine))
        return logits


def _double(field: Tensor) -> Tensor:
    return functional.interpolate(field, scale_factor=2.0, mode="nearest")


def scale_hu(hu: Tensor, window_hu: tuple[float, float]) -> Tensor:
    """Clip HU to the window and map the window to [-1, 1]."""
    low_hu, high_hu = window_hu
    return (hu.clamp(low_hu, high_hu) - low_hu) * (2.0 / (high_hu - low_hu)) - 1.0
