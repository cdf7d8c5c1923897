"""What each method says of a real scan, on the fine grid of the node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.accuracy.baselines import half_maximum
from benchmarks.accuracy.scans import Field
from sbnode.config import Config
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.inference.region import RegionMap
from sbnode.inference.resampling import resample
from sbnode.inference.threshold import adaptive_threshold
from sbnode.inference.volume import Volume
from sbnode.pipeline import REGION_MARGIN_MM, WANTED, Models

Array = NDArray[np.float32]
THRESHOLD_HU = 226.0


@dataclass(frozen=True)
class Levels:
    """HU and the level fields of the methods, bone where positive; float32, shape ``grid.shape``.

    ``bone`` is the node's, not cut at the border of the region.
    """

    grid: Grid
    hu: Array
    by_method: dict[str, Array]
    bone: Bone

    def at(self, name: str, points_mm: NDArray[np.float64]) -> Array:
        """A level, or "HU", at patient points (..., 3), linear between cells, held beyond the grid."""
        field = self.hu if name == "HU" else self.by_method[name]
        index = np.moveaxis(self.grid.to_index(points_mm), -1, 0)
        sampled: Array = ndimage.map_coordinates(field, index, order=1, mode="nearest", output=np.float32)
        return sampled


def box_of(volume: Volume, region: RegionMap, models: Models) -> Grid:
    """The node's fine grid about the region."""
    points = region.grid.to_patient(np.argwhere(region.inside > 0.5).astype(np.float64))
    spacing_mm = models.occupancy.description.input.spacing_mm
    return Grid.around(points, volume.stack, spacing_mm=spacing_mm, margin_mm=REGION_MARGIN_MM)


def levels(volume: Volume, region: RegionMap, box: Grid, models: Models) -> Levels:
    """Run the methods."""
    hu = resample(volume.hu, volume.stack, box, outside=-1024).astype(np.float32)
    whole = Field(values=hu, origin_mm=np.zeros(3), spacing_mm=np.full(3, box.spacing_mm))
    occupancy = models.occupancy.predict(volume, box, region.sample(box) > WANTED)
    bone = adaptive_threshold(occupancy, Config().threshold)
    return Levels(
        box,
        hu,
        {
            "226 HU": hu - np.float32(THRESHOLD_HU),
            "local half-maximum": half_maximum(whole).values,
            "sbnode": bone.level,
        },
        bone,
    )
