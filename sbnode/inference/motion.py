"""Whether the patient moved during the scan: slices that don't continue their neighbours.

Anatomy changes slowly from slice to slice, so that a slice lies where the mean of its two neighbours does, in a tilted
stack too. Where the patient moved, it is shifted against that mean. The shift is found by phase correlation (Kuglin and
Hines, 1975) of the bone edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sbnode.inference.volume import Volume

__all__ = ["moved_slices", "shifts_mm"]

PIXEL_MM = 1.0
"""Slices are averaged to pixels of about this size; a peak is found to a fraction of a pixel."""
WINDOW_HU = (-300.0, 1000.0)
"""HU beyond say nothing about where the head is."""
BAND = (0.03, 0.25)
"""Spatial frequencies that are compared, in cycles per pixel: edges, neither shading nor noise."""
CLEAR = 0.25
"""A peak of the correlation below this share of a perfect one says nothing: the slices look different."""

SHIFT_MM = 0.6
"""Motion is a shift of more than this ..."""
TIMES_USUAL = 5.0
"""... and of so many times what is usual nearby: where the head tapers, all slices are shifted a little."""
NEARBY_SLICES = 13


def moved_slices(volume: Volume) -> tuple[tuple[int, ...], float]:
    """Return the slices, counted from 1, that the patient's motion has shifted, and the largest shift in mm."""
    shifts = np.nan_to_num(shifts_mm(volume))
    if not shifts.size:
        return (), 0.0
    usual = ndimage.median_filter(shifts, NEARBY_SLICES, mode="nearest")
    moved = np.flatnonzero((shifts > SHIFT_MM) & (shifts > TIMES_USUAL * usual))
    return tuple(int(k) + 2 for k in moved), float(shifts[moved].max(initial=0.0))


def shifts_mm(volume: Volume) -> NDArray[np.float64]:
    """Return how far each slice but the first and last is shifted against the mean of its neighbours, in its plane.

    Returns:
        mm, shape (slices - 2,), not a number where a slice looks too different to say; empty for fewer than three
        slices.
    """
    stack = volume.stack
    spacings_mm = (stack.row_spacing_mm, stack.column_spacing_mm)
    blocks = (max(1, round(PIXEL_MM / spacings_mm[0])), max(1, round(PIXEL_MM / spacings_mm[1])))
    pixels_mm = np.array(blocks) * spacings_mm
    positions_mm = stack.positions_mm
    found = np.full(max(len(volume.hu) - 2, 0), np.nan)
    spectra = [_spectrum(image, blocks) for image in volume.hu[:2]]
    for k in range(1, len(volume.hu) - 1):
        spectra.append(_spectrum(volume.hu[k + 1], blocks))
        before, here, after = spectra
        share = np.float32((positions_mm[k] - positions_mm[k - 1]) / (positions_mm[k + 1] - positions_mm[k - 1]))
        found[k - 1] = np.linalg.norm(_shift(here, (1 - share) * before + share * after) * pixels_mm)
        spectra = spectra[1:]
    return found


def _spectrum(image: NDArray[np.int16], blocks: tuple[int, int]) -> NDArray[np.complex64]:
    """Spectrum of an averaged slice that fades out at its border."""
    rows, columns = (size // block for size, block in zip(image.shape, blocks, strict=True))
    cut = image[: rows * blocks[0], : columns * blocks[1]].reshape(rows, blocks[0], columns, blocks[1])
    mean = np.clip(cut.mean(axis=(1, 3), dtype=np.float32), *WINDOW_HU) - np.float32(WINDOW_HU[0])
    fade = np.outer(np.hanning(rows), np.hanning(columns)).astype(np.float32)
    return np.asarray(fft.fft2(mean * fade))


def _shift(here: NDArray[np.complex64], there: NDArray[np.complex64]) -> NDArray[np.float64]:
    """How far ``here`` is shifted, in pixels along rows and columns; not a number without a clear peak."""
    frequency = np.hypot(fft.fftfreq(here.shape[0])[:, None], fft.fftfreq(here.shape[1])[None, :])
    band = (frequency > BAND[0]) & (frequency < BAND[1])
    cross = here * there.conj()
    # Weighted by the root of the power: pure phase correlation would listen to noise.
    weight = band / np.sqrt(np.maximum(np.abs(cross), 1e-3))
    surface = fft.ifft2(cross * weight).real
    best = surface.max() * surface.size / max(float((np.abs(cross) * weight).sum()), 1e-3)
    if best < CLEAR:
        return np.full(2, np.nan)
    peak = np.unravel_index(surface.argmax(), surface.shape)
    found = np.empty(2)
    for axis, size in enumerate(surface.shape):
        line = surface[:, peak[1]] if axis == 0 else surface[peak[0]]
        low, top, high = (float(line[(peak[axis] + step) % size]) for step in (-1, 0, 1))
        found[axis] = (peak[axis] + size // 2) % size - size // 2 + 0.5 * (low - high) / (low - 2 * top + high)
    return found
