"""The methods that are compared: thresholds on HU, each on the native and on a doubled grid, and the node."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.accuracy.measures import Reference, mask_of
from benchmarks.accuracy.phantom import LENGTH_MM, FloatArray
from benchmarks.accuracy.scans import Field, Scan
from sbnode.config import Execution, Threshold
from sbnode.inference.geometry import Grid
from sbnode.inference.model import OccupancyModel
from sbnode.inference.occupancy import Occupancy
from sbnode.inference.resampling import interpolation_matrix
from sbnode.inference.threshold import adaptive_threshold
from sbnode.results.native import native_masks
from simulator.shapes import apply_axes

FIXED_HU = (150.0, 226.0, 300.0, 400.0, 500.0, 700.0)
SEARCHED_HU = tuple(float(hu) for hu in range(50, 951, 50))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A level field and the seconds that it took."""

    level: Field
    seconds: float


def doubled(field: Field) -> Field:
    """The field on a grid of half the spacing, cubic between samples."""
    matrices = []
    for count in field.values.shape:
        at = np.arange(2 * count - 1, dtype=np.float64) / 2.0
        matrices.append(interpolation_matrix(np.arange(count, dtype=np.float64), at))
    values = apply_axes(field.values, (matrices[0], matrices[1], matrices[2]))
    return Field(values=values, origin_mm=field.origin_mm, spacing_mm=field.spacing_mm / 2.0)


def fixed(field: Field, threshold_hu: float) -> Field:
    """HU above a threshold."""
    values = field.values - np.float32(threshold_hu)
    return Field(values=values, origin_mm=field.origin_mm, spacing_mm=field.spacing_mm)


def otsu_hu(values: FloatArray) -> float:
    """Otsu's threshold (1979) between soft tissue and bone: air below -200 HU is left out."""
    histogram, edges = np.histogram(np.clip(values[values > -200.0], -200.0, 2000.0), bins=220)
    centres = 0.5 * (edges[1:] + edges[:-1])
    weight = np.cumsum(histogram).astype(np.float64)
    total = np.cumsum(histogram * centres)
    rest = weight[-1] - weight
    valid = (weight > 0) & (rest > 0)
    gap = np.zeros_like(weight)
    gap[valid] = total[valid] / weight[valid] - (total[-1] - total[valid]) / rest[valid]
    return float(centres[int(np.argmax(weight * rest * gap**2))])


def otsu(field: Field) -> Field:
    """HU above Otsu's threshold of the scan."""
    return fixed(field, otsu_hu(field.values))


def half_maximum(field: Field) -> Field:
    """Local half-maximum of HU: half-way between the smoothed local maximum and minimum.

    Air counts as soft tissue of -100 HU; where the local range is under 250 HU the threshold is 300 HU; a
    component must somewhere exceed 300 HU.
    """
    sizes = [2 * max(1, round(0.8 / spacing)) + 1 for spacing in field.spacing_mm]
    sigmas = [0.7 / spacing for spacing in field.spacing_mm]
    highest = ndimage.gaussian_filter(ndimage.maximum_filter(field.values, sizes), sigmas)
    lowest = ndimage.gaussian_filter(ndimage.minimum_filter(field.values, sizes), sigmas)
    lowest = np.maximum(lowest, -100.0)
    half = np.where(highest - lowest > 250.0, np.clip(0.5 * (highest + lowest), 150.0, 900.0), 300.0)
    level = (field.values - half).astype(np.float32)
    labels, count = ndimage.label(level > 0)
    keep = np.zeros(count + 1, dtype=np.bool_)
    keep[np.unique(labels[field.values > 300.0])] = True
    level[~keep[labels] & (level > 0)] = -1.0
    return Field(values=level, origin_mm=field.origin_mm, spacing_mm=field.spacing_mm)


def best_fixed(field: Field, reference: Reference) -> Field:
    """The fixed threshold with the highest Dice against the truth of this very scan."""

    def dice(threshold_hu: float) -> float:
        found = mask_of(fixed(field, threshold_hu))
        return float(2.0 * (found & reference.bone).sum() / max(1, found.sum() + reference.bone.sum()))

    return fixed(field, max(SEARCHED_HU, key=dice))


def classical(scan: Scan, reference: Reference) -> dict[str, Estimate]:
    """Every baseline on HU, on the native grid and on the doubled one."""
    estimates: dict[str, Estimate] = {}
    for suffix, field in (("", scan.field), (" 2x", doubled(scan.field))):
        for threshold_hu in FIXED_HU:
            name = f"fixed {threshold_hu:.0f} HU{suffix}"
            estimates[name] = _timed(partial(fixed, field, threshold_hu))
        estimates[f"best fixed per scan{suffix}"] = _timed(partial(best_fixed, field, reference))
        estimates[f"Otsu{suffix}"] = _timed(partial(otsu, field))
        estimates[f"local half-maximum{suffix}"] = _timed(partial(half_maximum, field))
    return estimates


def _timed(make: Callable[[], Field]) -> Estimate:
    started_s = time.perf_counter()
    level = make()
    return Estimate(level=level, seconds=time.perf_counter() - started_s)


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

    def occupancy(self, scan: Scan) -> Occupancy:
        """What the network says, on cells of 0.4 mm."""
        cell_mm = self.model.description.input.spacing_mm
        cells = int(LENGTH_MM / cell_mm)
        grid = Grid(
            origin_mm=np.full(3, 0.5 * cell_mm),
            axes=np.eye(3)[::-1].copy(),
            spacing_mm=cell_mm,
            shape=(cells, cells, cells),
        )
        return self.model.predict(scan.volume(), grid)

    def estimates(self, scan: Scan) -> dict[str, Estimate]:
        """The network cut at one half, and with the adaptive threshold."""
        started_s = time.perf_counter()
        occupancy = self.occupancy(scan)
        predicted_s = time.perf_counter() - started_s
        cut = _timed(lambda: on_grid(occupancy.bone.astype(np.float32) - np.float32(0.5), occupancy.grid))
        started_s = time.perf_counter()
        bone = adaptive_threshold(occupancy, self.threshold)
        adapted_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        certain, inferred = native_masks(bone, scan.volume().stack)
        native = as_mask(certain | inferred, scan.field.origin_mm, scan.field.spacing_mm)
        rendered_s = time.perf_counter() - started_s
        return {
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
