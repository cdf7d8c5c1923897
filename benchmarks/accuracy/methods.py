"""The node as a method, whole and without its parts: the network alone, and the adaptive threshold alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.baselines import Estimate, timed
from benchmarks.accuracy.phantom import LENGTH_MM, FloatArray
from benchmarks.accuracy.scans import Field, Scan
from sbnode.config import Execution, Threshold
from sbnode.inference.geometry import Grid
from sbnode.inference.model import OccupancyModel
from sbnode.inference.occupancy import Occupancy
from sbnode.inference.resampling import resample
from sbnode.inference.threshold import adaptive_threshold
from sbnode.results.native import native_masks

SOFT_HU = 40.0
BONE_QUANTILE = 0.9
"""Bone's own level, for the adaptive threshold on HU, is this quantile of what exceeds 300 HU."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """The node's own model and threshold."""

    model: OccupancyModel
    threshold: Threshold

    @classmethod
    def open(cls, folder: Path, threshold: Threshold) -> Node:
        """Open the model folder on the CPU, one thread."""
        model = OccupancyModel.open(folder, Execution(provider="cpu", threads=1))
        return cls(model=model, threshold=threshold)

    def grid(self) -> Grid:
        """The cells of the network that cover a test object."""
        cell_mm = self.model.description.input.spacing_mm
        cells = int(LENGTH_MM / cell_mm)
        return Grid(
            origin_mm=np.full(3, 0.5 * cell_mm),
            axes=np.eye(3)[::-1].copy(),
            spacing_mm=cell_mm,
            shape=(cells, cells, cells),
        )

    def occupancy(self, scan: Scan) -> Occupancy:
        """What the network says."""
        return self.model.predict(scan.volume(), self.grid())

    def without_network(self, scan: Scan) -> Field:
        """The adaptive threshold on the fraction that HU lies between soft tissue and bone."""
        volume, grid = scan.volume(), self.grid()
        hu = resample(volume.hu, volume.stack, grid, outside=-1024).astype(np.float32)
        bright = hu[hu > 300.0]
        bone_hu = max(600.0, float(np.quantile(bright, BONE_QUANTILE))) if bright.size else 1000.0
        fraction = np.clip((hu - SOFT_HU) / (bone_hu - SOFT_HU), 0.0, 1.0).astype(np.float16)
        nothing = np.zeros(grid.shape, np.float16)
        bone = adaptive_threshold(Occupancy(grid=grid, bone=fraction, sheet=nothing, lumen=nothing), self.threshold)
        return on_grid(bone.level, grid)

    def estimates(self, scan: Scan) -> dict[str, Estimate]:
        """The node's results, and what its parts give alone."""
        alone = timed(lambda: self.without_network(scan))
        started_s = time.perf_counter()
        occupancy = self.occupancy(scan)
        predicted_s = time.perf_counter() - started_s
        cut = timed(lambda: on_grid(occupancy.bone.astype(np.float32) - np.float32(0.5), occupancy.grid))
        started_s = time.perf_counter()
        bone = adaptive_threshold(occupancy, self.threshold)
        adapted_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        certain, inferred = native_masks(bone, scan.volume().stack)
        native = as_mask(certain | inferred, scan.field.origin_mm, scan.field.spacing_mm)
        rendered_s = time.perf_counter() - started_s
        return {
            "adaptive threshold on HU": alone,
            "network at 0.5": Estimate(level=cut.level, seconds=predicted_s + cut.seconds),
            "sbnode": Estimate(level=on_grid(bone.level, bone.grid), seconds=predicted_s + adapted_s),
            "sbnode, SEG on the slices": Estimate(level=native, seconds=predicted_s + adapted_s + rendered_s),
        }


def as_mask(bone: NDArray[np.bool_], origin_mm: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> Field:
    """A mask in scene coordinates."""
    values = np.where(bone, np.float32(0.5), np.float32(-0.5))
    return Field(values=values, origin_mm=origin_mm, spacing_mm=spacing_mm, stepped=True)


def on_grid(values: FloatArray, grid: Grid) -> Field:
    """A field of the node in scene coordinates."""
    return Field(values=values, origin_mm=grid.origin_mm[::-1].copy(), spacing_mm=np.full(3, grid.spacing_mm))
