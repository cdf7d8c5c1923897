"""`python -m benchmarks.seams`: how far tiles change what one large tile would give, on the simulated head."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from sbnode.config import Execution
from sbnode.inference.geometry import Grid
from sbnode.inference.model import OccupancyModel
from sbnode.inference.tiling import Tiling
from sbnode.inference.volume import Volume
from simulator.head import simulate_head

BOX_CELLS = (160, 224, 224)
"""As much of the middle of the head as one tile can hold in memory."""
CORE_CELLS = 64
"""Cores this small put every cell within 32 cells of a seam."""


def main() -> None:
    """Predict the same box in small tiles and in one, and print how they differ."""
    head = simulate_head()
    volume = Volume(hu=head.hu.astype(np.int16), stack=head.stack, instances=(), frames=())
    model = OccupancyModel.open(Path("models/skullbase"), Execution(provider="cpu"))
    spacing_mm, tile = model.description.input.spacing_mm, model.tile
    middle = head.stack.to_patient(np.array([size / 2 for size in head.stack.shape]))
    axes = np.stack([head.stack.normal, head.stack.column_direction, head.stack.row_direction])
    corner = middle - np.array(BOX_CELLS) / 2 * spacing_mm @ axes
    box = Grid(origin_mm=corner, axes=axes, spacing_mm=spacing_mm, shape=BOX_CELLS)
    whole = Tiling(size=1024, halo=64, multiple_of=tile.multiple_of)
    small = Tiling(size=CORE_CELLS + 2 * tile.halo, halo=tile.halo, multiple_of=tile.multiple_of)
    one, many = (
        dataclasses.replace(model, tile=t).predict(volume, box).bone.astype(np.float32) for t in (whole, small)
    )
    difference = np.abs(one - many)
    flips = np.count_nonzero((one > 0.5) != (many > 0.5)) / np.count_nonzero(one > 0.5)
    print(f"halo {tile.halo} cells, cores of {CORE_CELLS}: 99.9 % of the cells differ by less than ", end="")
    print(f"{np.quantile(difference, 0.999):.3f}, at most {difference.max():.2f};")
    print(f"cells that change sides at one half: {flips:.2%} of the bone")


if __name__ == "__main__":
    main()
