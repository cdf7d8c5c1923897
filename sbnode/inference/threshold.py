"""The adaptive threshold: half-maximum on occupancy, taken between the local maximum and the local minimum.

A plate thinner than the blur reaches less than half of the occupancy of solid bone, and a canal narrower than the
blur never falls under half: one threshold loses the plate or closes the canal. The half-way value between what is
highest and what is lowest near a cell moves down at plates and up at canals by construction.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sbnode.config import Threshold
from sbnode.inference.bone import Bone
from sbnode.inference.occupancy import Occupancy

__all__ = ["adaptive_threshold"]

REACH_MM = 0.8
"""How far the local maximum and minimum look: the half-width of the blur of a common bone kernel."""
SMOOTH_MM = 0.7
"""Standard deviation of the Gaussian that smooths both."""
SHEET_FLOOR = 0.3
"""Evidence of a sheet under this counts as none: near any surface the model is a little unsure."""
SHEET_FADES = (0.6, 1.1)
"""Where the smoothed local maximum lies above the first, a plate is seen well and needs a lower threshold less: it
would only get thicker, and its true holes would close. The shift would end at the second; at 1 a fifth is left."""
CANAL_CORE = 0.2
"""Evidence of a canal counts only near its core, cells with more of it than this: elsewhere the model is a bit unsure,
and every surface would wear off ..."""
CANAL_CORE_CELLS = 20
"""... a core has at least so many cells, which touch each other: fewer are noise ..."""
CANAL_REACH_CELLS = 2
"""... and near is no further than this along each axis."""
RIDGE_EVIDENCE = 0.4
"""On the ridge of the evidence of a sheet, where there is more than this, a plate is kept whole ..."""
RIDGE_CURVATURE = 0.1
"""... if the evidence falls to both sides by as much, taken together ..."""
RIDGE_LEVEL = 0.2
"""... by raising the level to this: enough to join the plate, not enough to thicken it; but never ..."""
RIDGE_CANAL = 0.5
"""... where the cell or one that it touches has as much evidence of a canal: the wall of a canal has a ridge too."""
LINE_EVIDENCE = 0.15
"""Along the line of the evidence of a canal, where there is more than this, the canal is kept open ..."""
LINE_CORE_CELLS = 60
"""... near a core of at least so many cells ..."""
LINE_CURVATURE = 0.02
"""... if the evidence falls to both sides along two axes by as much, taken together ..."""
LINE_SMOOTH_CELLS = 1.0
"""... after smoothing by a Gaussian of so many cells ..."""
LINE_LEVEL = -0.5
"""... by lowering the level to this; but never where ..."""
LINE_SHEET = 0.5
"""... a cell has as much evidence of a sheet."""
CANAL_EVIDENCE = 0.3
"""A cell with more evidence of a canal than this, that isn't bone, is marked as one."""
PLATE_EVIDENCE = 0.5
"""A bone cell with more evidence of a sheet than this is marked as part of a thin plate."""
SLAB_CELLS = 48
"""Slices of the grid that are computed at once; bounds the memory."""

Array = NDArray[np.float32]


def adaptive_threshold(occupancy: Occupancy, settings: Threshold) -> Bone:
    """Cut ``occupancy`` at a threshold that adapts from place to place.

    ``k = clip((hi + lo) / 2, lowest, highest)`` where the local range ``hi - lo`` exceeds ``contrast``, else one half,
    where ``hi`` and ``lo`` are the smoothed maximum and minimum of the occupancy nearby. A connected component stays
    only if its occupancy somewhere exceeds ``seed`` (hysteresis). Bone whose occupancy doesn't exceed one half is
    there only because the threshold was lowered: it is marked as inferred. Near the core of a canal the evidence of it
    raises k by up to ``lumen_shift``, except where there is evidence of a thin sheet, which lowers k by up to
    ``sheet_shift``, the more the fainter the plate is. Along the ridge of the evidence of a sheet, the middle of the
    plate, cells whose occupancy exceeds ``lowest`` are bone in any case unless a canal is beside them. Along the line
    of the evidence of a canal, its axis, cells are open in any case unless a sheet is there.

    Returns:
        Bone whose level is occupancy minus k.
    """
    level = np.empty(occupancy.grid.shape, np.float32)
    cores = _canal_cores(occupancy.lumen, (CANAL_CORE_CELLS, LINE_CORE_CELLS))

    def cut(start: int) -> None:
        level[start : start + SLAB_CELLS] = _slab(occupancy, cores, settings, start)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(cut, range(0, len(level), SLAB_CELLS)))
    _drop_unseeded(level, occupancy.bone, settings.seed)
    present = level > 0
    return Bone(
        grid=occupancy.grid,
        level=level,
        inferred=present & (occupancy.bone <= np.float16(0.5)),
        canal=~present & (occupancy.lumen > np.float16(CANAL_EVIDENCE)),
        plate=present & (occupancy.sheet > np.float16(PLATE_EVIDENCE)),
    )


def _slab(occupancy: Occupancy, cores: tuple[NDArray[np.bool_], ...], settings: Threshold, start: int) -> Array:
    """The level of ``SLAB_CELLS`` slices from ``start``, found with what of their surroundings has a say in them.

    Args:
        occupancy: the whole grid.
        cores: of canals, and of canals that are long.
        settings: of the threshold.
        start: first slice.
    """
    spacing_mm, count = occupancy.grid.spacing_mm, len(occupancy.bone)
    margin = round(REACH_MM / spacing_mm) + int(np.ceil(4 * SMOOTH_MM / spacing_mm))
    stop = min(start + SLAB_CELLS, count)
    low, high = max(start - margin, 0), min(stop + margin, count)
    inner = slice(start - low, stop - low)
    bone, sheet = (field[low:high].astype(np.float32) for field in (occupancy.bone, occupancy.sheet))
    if not bone.any():
        return np.full(bone[inner].shape, -0.5, np.float32)
    lumen = occupancy.lumen[low:high]
    near, near_long = (_near(cells[low:high])[inner] for cells in cores)
    k, highest = (field[inner] for field in _threshold(bone, spacing_mm, settings))
    thin = _evidence(sheet[inner])
    k += settings.lumen_shift * np.where(near, lumen[inner], np.float32(0)) * (1 - thin)
    k -= settings.sheet_shift * thin * _faint(highest)
    level: Array = bone[inner] - np.clip(k, settings.lowest, settings.highest)
    raised = _on_plate(bone, sheet, lumen, settings.lowest)[inner]
    level[raised] = np.maximum(level[raised], RIDGE_LEVEL)
    lowered = near_long & _on_line(lumen)[inner] & (sheet[inner] < LINE_SHEET)
    level[lowered] = np.minimum(level[lowered], LINE_LEVEL)
    return level


def _on_plate(bone: Array, sheet: Array, lumen: NDArray[np.float16], lowest: float) -> NDArray[np.bool_]:
    """Return where the evidence of a sheet is highest across it, of bone that no canal is beside."""
    plate = (_highest_along(sheet, RIDGE_CURVATURE) > 0) & (sheet > RIDGE_EVIDENCE) & (bone > lowest)
    return plate & ~ndimage.maximum_filter(lumen > np.float16(RIDGE_CANAL), 3)


def _evidence(sheet: Array) -> Array:
    """Evidence of a sheet, 0..1 above its floor."""
    evidence: Array = np.clip((sheet - SHEET_FLOOR) / (1 - SHEET_FLOOR), 0, 1)
    return evidence


def _canal_cores(lumen: NDArray[np.float16], least_cells: tuple[int, ...]) -> tuple[NDArray[np.bool_], ...]:
    """Return the cells with clear evidence of a canal that hang together in pieces of at least each of these sizes."""
    labels, count = ndimage.label(lumen > np.float16(CANAL_CORE), np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return tuple(np.asarray((sizes >= least)[labels]) for least in least_cells)


def _near(core: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(ndimage.maximum_filter(core, 2 * CANAL_REACH_CELLS + 1))


def _on_line(lumen: NDArray[np.float16]) -> NDArray[np.bool_]:
    """Return where the evidence of a canal is highest across it: along two axes or more."""
    evidence = ndimage.gaussian_filter(lumen.astype(np.float32), LINE_SMOOTH_CELLS)
    return np.asarray((_highest_along(evidence, LINE_CURVATURE) >= 2) & (lumen > np.float16(LINE_EVIDENCE)))


def _highest_along(evidence: Array, curvature: float) -> NDArray[np.uint8]:
    """Return along how many axes ``evidence`` is highest at each cell, and falls clearly to both sides."""
    count = np.zeros(evidence.shape, np.uint8)
    for axis in range(3):
        rise = np.diff(evidence, axis=axis, prepend=evidence.take([0], axis))
        fall = -np.diff(evidence, axis=axis, append=evidence.take([-1], axis))
        count += (rise >= 0) & (fall > 0) & (rise + fall > curvature)
    return count


def _faint(highest: Array) -> Array:
    """How faint a plate is where the local maximum is ``highest``: 1 to 0 over ``SHEET_FADES``."""
    seen, clear = SHEET_FADES
    return np.asarray(np.clip((clear - highest) / (clear - seen), 0, 1), np.float32)


def _threshold(bone: Array, spacing_mm: float, settings: Threshold) -> tuple[Array, Array]:
    """The half-way value, and the smoothed local maximum."""
    size = 2 * round(REACH_MM / spacing_mm) + 1
    sigma = SMOOTH_MM / spacing_mm
    highest: Array = ndimage.gaussian_filter(ndimage.maximum_filter(bone, size), sigma)
    lowest: Array = ndimage.gaussian_filter(ndimage.minimum_filter(bone, size), sigma)
    half = np.clip((highest + lowest) / 2, settings.lowest, settings.highest)
    return np.where(highest - lowest > settings.contrast, half, np.float32(0.5)), highest


def _drop_unseeded(level: Array, bone: NDArray[np.float16], seed: float) -> None:
    """Make the components that nowhere exceed ``seed`` negative, in place."""
    labels, count = ndimage.label(level > 0)
    keep = np.zeros(count + 1, np.bool_)
    keep[np.unique(labels[bone > np.float16(seed)])] = True
    level[~keep[labels] & (level > 0)] = -0.01
