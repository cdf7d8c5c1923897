"""`python -m benchmarks.decimation FOLDER`: what the printable surface loses when it is decimated.

The bone of one scan is made once; its surface is decimated to several sizes and each is turned into cells again. A
pinhole is a place where bone was lost, of two cells or more, that parts two spaces in the whole surface and joins them
in this one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.region import series_in
from sbnode import pipeline
from sbnode.config import Config
from sbnode.inference.bone import Bone
from sbnode.inference.selection import choose
from sbnode.inference.volume import read_volume
from sbnode.results import surface

SIZES = (600_000, 900_000, 1_200_000, 100_000_000)
SPACE_CELLS = 60
"""A space beside a pinhole is at least so large, within 4 cells of it."""
AROUND = 4
SKEW = (1.7e-5, 2.3e-5)
"""Rays are this far, in cells, beside the middles of cells, where they meet no vertex."""

Mask = NDArray[np.bool_]


def inside(vertices: NDArray[np.float64], triangles: NDArray[np.int32], shape: tuple[int, ...]) -> Mask:
    """Which cells of a grid lie in a closed mesh: by the signed crossings of a ray along the first axis below each.

    Args:
        vertices: in cells (n, 3).
        triangles: (m, 3).
        shape: of the grid.
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    area = (b[:, 1] - a[:, 1]) * (c[:, 2] - a[:, 2]) - (b[:, 2] - a[:, 2]) * (c[:, 1] - a[:, 1])
    low = np.floor(np.minimum(np.minimum(a, b), c)[:, 1:] - 1e-3).astype(int)
    count = np.floor(np.maximum(np.maximum(a, b), c)[:, 1:] + 1e-3).astype(int) - low + 1
    count[np.abs(area) < 1e-12] = 0  # seen edge-on
    crossings = np.zeros(shape, np.int16)
    for i in range(int(count[:, 0].max())):
        for j in range(int(count[:, 1].max())):
            k = np.flatnonzero((count[:, 0] > i) & (count[:, 1] > j))
            y, x = low[k, 0] + i + SKEW[0], low[k, 1] + j + SKEW[1]
            u = ((y - a[k, 1]) * (c[k, 2] - a[k, 2]) - (x - a[k, 2]) * (c[k, 1] - a[k, 1])) / area[k]
            v = ((b[k, 1] - a[k, 1]) * (x - a[k, 2]) - (b[k, 2] - a[k, 2]) * (y - a[k, 1])) / area[k]
            met = (u >= 0) & (v >= 0) & (u + v <= 1)
            k, u, v = k[met], u[met], v[met]
            height = np.ceil(a[k, 0] + u * (b[k, 0] - a[k, 0]) + v * (c[k, 0] - a[k, 0])).astype(int)
            place = tuple(
                np.clip(index, 0, size - 1)
                for index, size in zip((height, low[k, 0] + i, low[k, 1] + j), shape, strict=True)
            )
            np.add.at(crossings, place, np.where(area[k] > 0, 1, -1).astype(np.int16))
    return np.asarray(np.cumsum(crossings, axis=0, dtype=np.int16) != 0)


def pinholes(before: Mask, after: Mask) -> int:
    """How many pinholes ``after`` has that ``before`` hasn't."""
    lost, _ = ndimage.label(before & ~after, np.ones((3, 3, 3)))
    sizes = np.bincount(lost.ravel())
    found = 0
    for number, box in enumerate(ndimage.find_objects(lost), start=1):
        if sizes[number] < 2:
            continue
        around = tuple(slice(max(side.start - AROUND, 0), side.stop + AROUND) for side in box)
        spaces, _ = ndimage.label(~before[around])
        beside = ndimage.binary_dilation(lost[around] == number, ndimage.generate_binary_structure(3, 1))
        joined = np.unique(spaces[beside & (spaces > 0)])
        found += int(sum(int(np.count_nonzero(spaces == space)) > SPACE_CELLS for space in joined) >= 2)
    return found


def bone_of(folder: Path) -> Bone:
    """The bone of the best series of a study."""
    config = Config()
    models = pipeline.Models.open(config)
    volume = read_volume(choose(series_in(folder), config.selection).chosen, config.selection)
    clock = pipeline._Clock(lambda stage, share: None)
    return pipeline._find_bone(volume, pipeline._find_region(volume, models, config, clock), models, config, clock)


def main() -> None:
    """Print the table of one scan."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decimation", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of one study")
    bone = bone_of(parser.parse_args().folder)
    core = ndimage.binary_dilation(ndimage.binary_erosion(bone.mask, iterations=2), iterations=3)
    thin = bone.mask & ~core
    print("| triangles | STL, MB | cells of thin bone kept | pinholes |\n|---|---|---|---|")
    for most in SIZES:
        mesh = surface.extract(bone, most)
        cells = bone.grid.to_index(mesh.vertices_mm.astype(np.float64))
        kept = inside(cells, mesh.triangles, bone.grid.shape)
        size = (84 + 50 * len(mesh.triangles)) / 1e6
        print(f"| {len(mesh.triangles):,} | {size:.0f} | {kept[thin].mean():.1%} | {pinholes(bone.mask, kept)} |")


if __name__ == "__main__":
    main()
