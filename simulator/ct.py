"""CT acquisition of a scene: point spread, slice profile, noise, artefacts, rounding, resampling.

The chain works on samples of HU at a fine grid and is linear up to the noise, so every step is a
small matrix on one axis. Closed forms that it must meet are in `plate_peak` and `canal_axis`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import erf

from sbnode.inference.resampling import interpolation_matrix
from simulator.shapes import apply_axes

FloatArray = NDArray[np.floating[Any]]

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian of unit standard deviation."""

SCANNER_RANGE_HU = (-1024.0, 3071.0)
"""What 12 bits with an intercept of -1024 HU can hold."""

OVERSHOOT_WIDTH = 2.2
"""Width of the negative lobe of a sharp kernel, in widths of its main lobe."""


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One way to scan a scene. The slice axis is axis 0."""

    fwhm_mm: float
    overshoot: float
    slice_thickness_mm: float
    slice_step_mm: float
    pixel_mm: float
    noise_hu: float
    phase: tuple[float, float, float] = (0.5, 0.5, 0.5)
    cupping_hu: float = 0.0
    streaks_hu: float = 0.0
    gain: float = 1.0

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Slice step, row spacing, column spacing."""
        return (self.slice_step_mm, self.pixel_mm, self.pixel_mm)


def plate_peak(thickness_mm: float, fwhm_mm: float) -> float:
    """Peak of a plate across a Gaussian PSF, as a fraction of its step: erf(t / (2 sqrt2 s))."""
    sigma_mm = fwhm_mm / FWHM_PER_SIGMA
    return math.erf(thickness_mm / (2.0 * math.sqrt(2.0) * sigma_mm))


def canal_axis(diameter_mm: float, fwhm_mm: float) -> float:
    """Fraction of the bone step left on the axis of a cylindrical canal: exp(-r^2 / (2 s^2))."""
    sigma_mm = fwhm_mm / FWHM_PER_SIGMA
    return math.exp(-((diameter_mm / 2.0) ** 2) / (2.0 * sigma_mm**2))


def sample_positions(length_mm: float, step_mm: float, phase: float) -> FloatArray:
    """Centres of the samples inside [0, length], the first at `phase` steps from the start."""
    count = max(2, math.floor(length_mm / step_mm - phase) + 1)
    positions: FloatArray = (np.arange(count) + phase) * step_mm
    return positions


def cell_centres(count: int, step_mm: float) -> FloatArray:
    """Centres of `count` cells of a grid that starts at zero."""
    centres: FloatArray = (np.arange(count) + 0.5) * step_mm
    return centres


def _gaussian_weights(offsets_mm: FloatArray, sigma_mm: float) -> FloatArray:
    weights = np.exp(-0.5 * (offsets_mm / sigma_mm) ** 2)
    scaled: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def in_plane_matrix(targets_mm: FloatArray, count: int, step_mm: float, fwhm_mm: float) -> FloatArray:
    """Sampling through a Gaussian PSF of a field given as cell averages.

    The averaging over the cells has variance step^2 / 12, which is taken off the PSF's own.
    """
    variance = (fwhm_mm / FWHM_PER_SIGMA) ** 2 - step_mm**2 / 12.0
    sigma_mm = math.sqrt(max(variance, (0.25 * step_mm) ** 2))
    offsets = targets_mm[:, None] - cell_centres(count, step_mm)[None, :]
    return _gaussian_weights(offsets, sigma_mm)


def slice_matrix(targets_mm: FloatArray, count: int, step_mm: float, thickness_mm: float) -> FloatArray:
    """Sampling through a slice profile: a box of the slice thickness with softened flanks.

    The flanks are those of a Gaussian of a quarter of the thickness, at least half a cell.
    """
    edges = np.arange(count + 1) * step_mm
    sigma_mm = max(0.25 * thickness_mm, 0.5 * step_mm)
    scale = 1.0 / (math.sqrt(2.0) * sigma_mm)
    half = thickness_mm / 2.0
    middle = 0.5 * (edges[1:] + edges[:-1])
    offsets = middle[None, :] - targets_mm[:, None]
    weights = erf((offsets + half) * scale) - erf((offsets - half) * scale)
    scaled: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def kernel_noise(
    shape: tuple[int, int, int],
    acquisition: Acquisition,
    random: np.random.Generator,
) -> FloatArray:
    """Noise of unit deviation with the spectrum of filtered back-projection in each slice.

    The power is f * MTF(f)^2 (Riederer, Pelc and Chesler 1978); neighbouring slices share it as
    far as their profiles overlap.
    """
    slices, rows, columns = shape
    row_f = np.fft.fftfreq(rows, acquisition.pixel_mm)[:, None]
    column_f = np.fft.rfftfreq(columns, acquisition.pixel_mm)[None, :]
    frequency = np.hypot(row_f, column_f)
    sigma_mm = acquisition.fwhm_mm / FWHM_PER_SIGMA
    transfer = np.exp(-2.0 * (math.pi * sigma_mm * frequency) ** 2)
    transfer *= 1.0 + acquisition.overshoot * (
        1.0 - np.exp(-2.0 * (math.pi * OVERSHOOT_WIDTH * sigma_mm * frequency) ** 2)
    )
    amplitude = np.sqrt(frequency + 0.02) * transfer
    white = random.standard_normal(shape).astype(np.float32)
    coloured = np.fft.irfft2(np.fft.rfft2(white, axes=(1, 2)) * amplitude, s=(rows, columns))
    overlap = acquisition.slice_thickness_mm / acquisition.slice_step_mm
    mixing = np.exp(-0.5 * (np.subtract.outer(range(slices), range(slices)) / (0.3 * overlap)) ** 2)
    mixed = (mixing @ coloured.reshape(slices, -1)).reshape(shape)
    unit: FloatArray = (mixed / max(float(mixed.std()), 1e-6)).astype(np.float32)
    return unit


def _cupping(shape: tuple[int, int, int], amplitude_hu: float) -> FloatArray:
    rows = np.linspace(-1.0, 1.0, shape[1])[:, None]
    columns = np.linspace(-1.0, 1.0, shape[2])[None, :]
    field: FloatArray = (amplitude_hu * (rows**2 + columns**2 - 0.66))[None].astype(np.float32)
    return field


def _streaks(shape: tuple[int, int, int], amplitude_hu: float, random: np.random.Generator) -> FloatArray:
    """Broad parallel bands, as between the petrous ridges: one direction, slow along slices."""
    angle = random.uniform(0.0, math.pi)
    rows, columns = np.mgrid[0 : shape[1], 0 : shape[2]]
    across = math.cos(angle) * rows + math.sin(angle) * columns
    field = np.zeros(shape[1:], dtype=np.float32)
    for _ in range(3):
        period = random.uniform(6.0, 40.0)
        field += np.sin(2.0 * math.pi * (across / period + random.uniform())).astype(np.float32)
    along = 1.0 + 0.5 * np.sin(np.arange(shape[0]) * random.uniform(0.1, 0.6))
    bands: FloatArray = (amplitude_hu / 1.5 * field[None] * along[:, None, None]).astype(np.float32)
    return bands


def project(scene_hu: FloatArray, step_mm: float, acquisition: Acquisition) -> FloatArray:
    """The noiseless scan of a scene (slice, row, column), in HU, on the acquisition's grid."""
    positions = _positions(scene_hu.shape, step_mm, acquisition)
    counts = scene_hu.shape
    along = slice_matrix(positions[0], counts[0], step_mm, acquisition.slice_thickness_mm)
    sliced = apply_axes(scene_hu, (along, np.eye(counts[1]), np.eye(counts[2])))

    def through(fwhm_mm: float) -> FloatArray:
        rows = in_plane_matrix(positions[1], counts[1], step_mm, fwhm_mm)
        columns = in_plane_matrix(positions[2], counts[2], step_mm, fwhm_mm)
        return apply_axes(sliced, (sparse.identity(sliced.shape[0]), rows, columns))

    main = through(acquisition.fwhm_mm)
    if acquisition.overshoot == 0.0:
        return main
    lobe = through(acquisition.fwhm_mm * OVERSHOOT_WIDTH)
    sharpened: FloatArray = main + acquisition.overshoot * (main - lobe)
    return sharpened


def _positions(
    shape: tuple[int, ...], step_mm: float, acquisition: Acquisition
) -> tuple[FloatArray, FloatArray, FloatArray]:
    first, second, third = (
        sample_positions(count * step_mm, spacing, phase)
        for count, spacing, phase in zip(shape, acquisition.spacing_mm, acquisition.phase, strict=True)
    )
    return first, second, third


def scan(
    scene_hu: FloatArray,
    step_mm: float,
    acquisition: Acquisition,
    random: np.random.Generator,
) -> NDArray[np.int16]:
    """A scene (slice, row, column; HU on cells of `step_mm`) as a scanner would store it."""
    clean = project(scene_hu, step_mm, acquisition) * acquisition.gain
    shape = (clean.shape[0], clean.shape[1], clean.shape[2])
    noisy = clean + acquisition.noise_hu * kernel_noise(shape, acquisition, random)
    if acquisition.cupping_hu:
        noisy = noisy + _cupping(shape, acquisition.cupping_hu)
    if acquisition.streaks_hu:
        noisy = noisy + _streaks(shape, acquisition.streaks_hu, random)
    stored: NDArray[np.int16] = np.rint(np.clip(noisy, *SCANNER_RANGE_HU)).astype(np.int16)
    return stored


@lru_cache(maxsize=64)
def _grid_matrix(count: int, step_mm: float, phase: float, target_count: int, target_mm: float) -> Any:
    source = (np.arange(count) + phase) * step_mm
    targets = cell_centres(target_count, target_mm)
    return interpolation_matrix(source.astype(np.float64), targets.astype(np.float64))


def to_input_grid(
    stored: NDArray[np.int16], acquisition: Acquisition, shape: tuple[int, int, int], cell_mm: float
) -> FloatArray:
    """Resample a scan to cells of `cell_mm` whose grid starts where the scene's does."""
    first, second, third = (
        _grid_matrix(count, spacing, phase, target, cell_mm)
        for count, spacing, phase, target in zip(
            stored.shape, acquisition.spacing_mm, acquisition.phase, shape, strict=True
        )
    )
    return apply_axes(stored.astype(np.float32), (first, second, third))
