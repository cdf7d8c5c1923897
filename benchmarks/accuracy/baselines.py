"""The baselines: thresholds on HU, from a fixed one to those that adapt, most of them on a doubled grid.

The settings of the adaptive ones were chosen by `python -m benchmarks.accuracy.tune`, on development seeds.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import hessian_matrix, hessian_matrix_eigvals
from skimage.filters import rank, threshold_sauvola
from skimage.morphology import ball

from benchmarks.accuracy.measures import Reference, mask_of
from benchmarks.accuracy.phantom import FloatArray
from benchmarks.accuracy.scans import Field, Scan
from sbnode.inference.resampling import interpolation_matrix
from simulator.shapes import apply_axes

FIXED_HU = (150.0, 226.0, 300.0, 400.0, 500.0, 700.0)
SEARCHED_HU = tuple(float(hu) for hu in range(50, 951, 50))
SEED_HU = 300.0
"""A component that an adaptive threshold finds must somewhere exceed this."""
WIDE_MM = 1.1
"""Reach of the local half-maximum that does best in noise; 0.6 mm does best elsewhere."""
SOFT_HU = -100.0
"""Air counts as soft tissue of this value, else plates between air and fat are lost."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A level field and the seconds that it took."""

    level: Field
    seconds: float


def timed(make: Callable[[], Field]) -> Estimate:
    """Run a method and time it."""
    started_s = time.perf_counter()
    level = make()
    return Estimate(level=level, seconds=time.perf_counter() - started_s)


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
    return _above(field, field.values, np.float32(threshold_hu))


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


def local_otsu(field: Field, reach_mm: float = 4.5) -> Field:
    """HU above Otsu's threshold of the neighbourhood (a ball); where its range is under 250 HU, above 300 HU."""
    soft = np.clip(field.values, SOFT_HU, 1500.0)
    bytes_ = ((soft - SOFT_HU) * (255.0 / (1500.0 - SOFT_HU))).astype(np.uint8)
    radius = max(1, round(reach_mm / float(field.spacing_mm.mean())))
    threshold = rank.otsu(bytes_, ball(radius)).astype(np.float32) * ((1500.0 - SOFT_HU) / 255.0) + SOFT_HU
    return _adaptive(field, soft, np.clip(threshold, 150.0, 900.0), _local_range(field, soft))


def sauvola(field: Field, window_mm: float = 4.0, k: float = 0.35, r_hu: float = 400.0) -> Field:
    """Sauvola's threshold in three dimensions: m (1 + k (s / R - 1)), m and s mean and deviation in a window."""
    soft = np.clip(field.values, SOFT_HU, 1500.0) - np.float32(SOFT_HU)
    window = [2 * max(1, round(0.5 * window_mm / spacing)) + 1 for spacing in field.spacing_mm]
    threshold = threshold_sauvola(soft, window, k=k, r=r_hu).astype(np.float32)
    values = soft + np.float32(SOFT_HU)
    return _adaptive(field, values, np.clip(threshold + SOFT_HU, 150.0, 900.0), _local_range(field, values))


def half_maximum(field: Field, reach_mm: float = 0.6) -> Field:
    """Local half-maximum of HU: half-way between the smoothed local maximum and minimum."""
    soft = np.maximum(field.values, np.float32(SOFT_HU))
    sizes = [2 * max(1, round(reach_mm / spacing)) + 1 for spacing in field.spacing_mm]
    sigmas = [0.7 / spacing for spacing in field.spacing_mm]
    highest = ndimage.gaussian_filter(ndimage.maximum_filter(soft, sizes), sigmas)
    lowest = ndimage.gaussian_filter(ndimage.minimum_filter(soft, sizes), sigmas)
    return _adaptive(field, soft, np.clip(0.5 * (highest + lowest), 150.0, 900.0), highest - lowest)


def sheetness(field: Field, threshold_hu: float = 700.0, sigma_mm: float = 0.5, gain_hu: float = 600.0) -> Field:
    """A fixed threshold that gives way where the Hessian says "sheet" (Descoteaux et al., MICCAI 2006).

    Raw sheetness of the eigenvalues |a| <= |b| <= |c|, c < 0: exp(-2 (b/c)^2) (1 - exp(-s^2 / (2 (s_max / 2)^2))).
    """
    soft = np.maximum(field.values, np.float32(SOFT_HU))
    sigma = tuple(sigma_mm / spacing for spacing in field.spacing_mm)
    pairs = itertools.combinations_with_replacement(field.spacing_mm, 2)
    per_cell = hessian_matrix(soft, sigma=sigma, use_gaussian_derivatives=True)
    values = hessian_matrix_eigvals([part / (one * other) for part, (one, other) in zip(per_cell, pairs, strict=True)])
    order = np.argsort(np.abs(values), axis=0)
    _, b, c = np.take_along_axis(values, order, axis=0)
    strength = np.sqrt((values**2).sum(axis=0))
    half = 0.5 * max(float(np.quantile(strength, 0.999)), 1e-6)
    flat = np.exp(-2.0 * (b / np.where(c == 0, 1.0, c)) ** 2) * (1.0 - np.exp(-(strength**2) / (2 * half**2)))
    sheet = np.where(c < 0, flat, 0.0).astype(np.float32)
    return _above(field, field.values, np.maximum(np.float32(threshold_hu) - np.float32(gain_hu) * sheet, 100.0))


def best_fixed(field: Field, reference: Reference) -> Field:
    """The fixed threshold with the highest Dice against the truth of this very scan."""

    def dice(threshold_hu: float) -> float:
        found = mask_of(fixed(field, threshold_hu))
        return float(2.0 * (found & reference.bone).sum() / max(1, found.sum() + reference.bone.sum()))

    return fixed(field, max(SEARCHED_HU, key=dice))


def classical(scan: Scan, reference: Reference) -> dict[str, Estimate]:
    """Every baseline on HU: those that gain from it on the doubled grid."""
    native, fine = scan.field, doubled(scan.field)
    makers: dict[str, Callable[[], Field]] = {"fixed 226 HU": partial(fixed, native, 226.0)}
    for threshold_hu in FIXED_HU:
        makers[f"fixed {threshold_hu:.0f} HU 2x"] = partial(fixed, fine, threshold_hu)
    makers |= {
        "best fixed per scan 2x": partial(best_fixed, fine, reference),
        "Otsu 2x": partial(otsu, fine),
        "local Otsu": partial(local_otsu, native),
        "Sauvola 2x": partial(sauvola, fine),
        "sheetness 2x": partial(sheetness, fine),
        "local half-maximum": partial(half_maximum, native),
        "local half-maximum 2x": partial(half_maximum, fine),
        "local half-maximum 2x, wide": partial(half_maximum, fine, WIDE_MM),
    }
    return {name: timed(make) for name, make in makers.items()}


def _above(field: Field, values: FloatArray, threshold: NDArray[np.float32] | np.float32) -> Field:
    level = (values - threshold).astype(np.float32)
    return Field(values=level, origin_mm=field.origin_mm, spacing_mm=field.spacing_mm)


def _local_range(field: Field, soft: FloatArray) -> FloatArray:
    sizes = [2 * max(1, round(0.8 / spacing)) + 1 for spacing in field.spacing_mm]
    spread: FloatArray = ndimage.maximum_filter(soft, sizes) - ndimage.minimum_filter(soft, sizes)
    return spread


def _adaptive(field: Field, soft: FloatArray, threshold: FloatArray, spread_hu: FloatArray) -> Field:
    """Cut at the threshold, at 300 HU where the spread is under 250 HU; a component must exceed ``SEED_HU``."""
    level = (soft - np.where(spread_hu > 250.0, threshold, SEED_HU)).astype(np.float32)
    labels, count = ndimage.label(level > 0)
    keep = np.zeros(count + 1, dtype=np.bool_)
    keep[np.unique(labels[field.values > SEED_HU])] = True
    level[~keep[labels] & (level > 0)] = -1.0
    return Field(values=level, origin_mm=field.origin_mm, spacing_mm=field.spacing_mm)
