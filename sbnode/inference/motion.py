"""Whether the patient moved during the scan: slices that don't continue the one before.

Anatomy goes on evenly from slice to slice, so that neighbouring slices are shifted against each other by about as much
as those nearby: by nothing, or evenly where the stack leans against the head. Where the patient moved, the shift stands
out. It is found by correlation of the edges (after Kuglin and Hines, 1975). A rotation in place is not seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

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
SHIFT_MM, SHIFT_STEPS = 0.6, 0.5
"""Motion is a shift that differs from what is usual nearby by more than this, and this share of the slice step ..."""
TIMES_USUAL = 5.0
"""... and by so many times as much as shifts nearby usually do: where the head tapers, they all differ."""
NEARBY = 6
"""So many shifts on either side are near; half of them must be known."""

Spectrum = NDArray[np.complex64]


def moved_slices(volume: Volume) -> tuple[tuple[int, ...], float]:
    """Return the slices before which the patient moved, as indices into the stack, and the largest shift in mm."""
    shifts = shifts_mm(volume)
    steps_mm = np.diff(volume.stack.positions_mm)
    moved, largest_mm = [], 0.0
    for k, shift in enumerate(shifts):
        nearby = shifts[max(k - NEARBY, 0) : k + NEARBY + 1]
        known = nearby[np.isfinite(nearby[:, 0])]
        if not np.isfinite(shift[0]) or 2 * len(known) < len(nearby) or len(known) < NEARBY:
            continue
        usual = np.median(known, axis=0)
        away_mm = float(np.linalg.norm(shift - usual))
        spread_mm = float(np.median(np.linalg.norm(known - usual, axis=1)))
        if away_mm > max(SHIFT_MM, SHIFT_STEPS * float(steps_mm[k]), TIMES_USUAL * spread_mm):
            moved.append(k + 1)
            largest_mm = max(largest_mm, away_mm)
    return tuple(moved), largest_mm


def shifts_mm(volume: Volume) -> NDArray[np.float64]:
    """Return how far each slice but the first is shifted against the one before, along columns and along rows.

    Returns:
        mm, shape (slices - 1, 2); not a number where the two slices look too different to say.
    """
    stack = volume.stack
    spacings_mm = (stack.row_spacing_mm, stack.column_spacing_mm)
    wanted = [round(PIXEL_MM / spacing_mm) for spacing_mm in spacings_mm]
    blocks = (min(max(1, wanted[0]), stack.rows), min(max(1, wanted[1]), stack.columns))
    found = np.full((max(len(volume.hu) - 1, 0), 2), np.nan)
    before = _spectrum(volume.hu[0], blocks)
    for k in range(len(found)):
        here = _spectrum(volume.hu[k + 1], blocks)
        found[k] = _shift(here, before) * np.array(blocks) * spacings_mm
        before = here
    return found


def _spectrum(image: NDArray[np.int16], blocks: tuple[int, int]) -> Spectrum:
    """Spectrum of an averaged slice that fades out at its border."""
    rows, columns = (size // block for size, block in zip(image.shape, blocks, strict=True))
    cut = image[: rows * blocks[0], : columns * blocks[1]].reshape(rows, blocks[0], columns, blocks[1])
    mean = np.clip(cut.mean(axis=(1, 3), dtype=np.float32), *WINDOW_HU) - np.float32(WINDOW_HU[0])
    fade = np.outer(np.hanning(rows), np.hanning(columns)).astype(np.float32)
    return np.asarray(fft.fft2(mean * fade))


def _shift(here: Spectrum, there: Spectrum) -> NDArray[np.float64]:
    """How far ``here`` is shifted, in pixels along columns and rows; not a number without a clear peak."""
    frequency = np.hypot(fft.fftfreq(here.shape[0])[:, None], fft.fftfreq(here.shape[1])[None, :])
    band = (frequency > BAND[0]) & (frequency < BAND[1])
    cross = here * there.conj()
    # Weighted by the root of the power: pure phase correlation would listen to noise.
    weight = band / np.sqrt(np.maximum(np.abs(cross), 1e-3))
    surface = fft.ifft2(cross * weight).real
    best = surface.max(initial=0) * surface.size / max(float((np.abs(cross) * weight).sum()), 1e-3)
    if best < CLEAR:
        return np.full(2, np.nan)
    peak = np.unravel_index(surface.argmax(), surface.shape)
    found = np.empty(2)
    for axis, size in enumerate(surface.shape):
        line = surface[:, peak[1]] if axis == 0 else surface[peak[0]]
        low, top, high = (float(line[(peak[axis] + step) % size]) for step in (-1, 0, 1))
        curvature = low - 2 * top + high
        found[axis] = (peak[axis] + size // 2) % size - size // 2 + (0.5 * (low - high) / curvature if curvature else 0)
    return found
