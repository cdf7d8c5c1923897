"""Suite S4: a real scan, blurred further, against the same method on the scan as it is. Consistency, not accuracy."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.real.methods import Levels
from sbnode.inference.volume import Volume

ADDED_FWHM_MM = 0.6
SLICES = 2
SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))

Mask = NDArray[np.bool_]


def blurred(volume: Volume) -> Volume:
    """The scan with 0.6 mm more blur in its planes, every two slices averaged."""
    count = len(volume.hu) // SLICES
    pairs = volume.hu[: SLICES * count].astype(np.float32).reshape(count, SLICES, *volume.hu.shape[1:]).mean(axis=1)
    stack = volume.stack
    sigma = ADDED_FWHM_MM * SIGMA_PER_FWHM
    hu = ndimage.gaussian_filter(pairs, (0, sigma / stack.row_spacing_mm, sigma / stack.column_spacing_mm))
    origins = stack.origins_mm[: SLICES * count].reshape(count, SLICES, 3).mean(axis=1)
    return dataclasses.replace(
        volume, hu=np.rint(hu).astype(np.int16), stack=dataclasses.replace(stack, origins_mm=origins)
    )


def agreement(finer: Levels, coarser: Levels, method: str, inside: Mask) -> tuple[float, float]:
    """Share of the finer scan's thin bone that the coarser one still has, and the Dice overlap, in the region.

    Thin: under three cells, 1.2 mm.
    """
    first, second = (levels.by_method[method] > 0 for levels in (finer, coarser))
    first, second = first & inside, second & inside
    thin = first & ~ndimage.binary_opening(first)
    return _share(thin & second, thin), 2 * int((first & second).sum()) / max(1, int(first.sum()) + int(second.sum()))


def _share(part: Mask, whole: Mask) -> float:
    return int(part.sum()) / max(1, int(whole.sum()))
