"""A CT of the built-in simulated head, whose thin plates and canals are known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sbnode.inference.geometry import SliceStack
from simulator.anatomy import AIR_HU, BONE_HU, CANALS, PLATES, Canal, Plate, draw_head
from simulator.ct import SCANNER_RANGE_HU, Acquisition, in_plane_matrix, kernel_noise, slice_matrix
from simulator.dicom import axial_stack, write_series
from simulator.slab import Slab

__all__ = ["SimulatedHead", "simulate_head", "write_head"]

CELLS_PER_SLICE = 2
SLAB_SLICES = 16
MARGIN_CELLS = 3
"""A slab is drawn this much further, so that the slice profile sees its neighbours."""
CENTRE_MM = (0.0, 13.5, -3.0)
"""Middle of the field of view in the frame of the anatomy."""


@dataclass(frozen=True, kw_only=True)
class SimulatedHead:
    """A scan and its truth; all coordinates are LPS mm. ``hu`` is int16, shape ``stack.shape``."""

    hu: NDArray[np.int16]
    stack: SliceStack
    plates: tuple[Plate, ...]
    canals: tuple[Canal, ...]


def simulate_head(
    *,
    slices: int = 178,
    rows: int = 432,
    spacing_mm: tuple[float, float, float] = (0.8, 0.45, 0.45),
    fwhm_mm: float = 0.7,
    overshoot: float = 0.1,
    noise_hu: float = 40.0,
    centre_mm: tuple[float, float, float] = CENTRE_MM,
    seed: int = 1,
) -> SimulatedHead:
    """Scan the simulated head.

    Args:
        slices: number of slices.
        rows: rows and columns of each slice.
        spacing_mm: slice step (the slices are as thick), distance of rows, distance of columns (the same).
        fwhm_mm: in-plane point spread, full width at half maximum.
        overshoot: edge enhancement of the kernel.
        noise_hu: standard deviation of the noise.
        centre_mm: middle of the field of view.
        seed: of the noise and of the mastoid air cells.
    """
    stack = axial_stack((slices, rows, rows), spacing_mm, centre_mm=centre_mm)
    acquisition = Acquisition(
        fwhm_mm=fwhm_mm,
        overshoot=overshoot,
        slice_thickness_mm=spacing_mm[0],
        slice_step_mm=spacing_mm[0],
        pixel_mm=spacing_mm[1],
        noise_hu=noise_hu,
    )
    hu = np.empty(stack.shape, np.float32)
    for first in range(0, slices, SLAB_SLICES):
        part = slice(first, min(first + SLAB_SLICES, slices))
        hu[part] = _scan_slab(stack, part, acquisition, seed)
    random = np.random.default_rng(seed)
    for first in range(0, slices, SLAB_SLICES):
        part = slice(first, min(first + SLAB_SLICES, slices))
        hu[part] += noise_hu * kernel_noise(hu[part].shape, acquisition, random)
    stored = np.rint(np.clip(hu, *SCANNER_RANGE_HU)).astype(np.int16)
    return SimulatedHead(hu=stored, stack=stack, plates=PLATES, canals=CANALS)


def _scan_slab(stack: SliceStack, part: slice, acquisition: Acquisition, seed: int) -> NDArray[np.float32]:
    """Draw the head around some slices and scan it without noise."""
    cell_mm = acquisition.slice_step_mm / CELLS_PER_SLICE
    count = (part.stop - part.start) * CELLS_PER_SLICE + 2 * MARGIN_CELLS
    lowest_mm = stack.origins_mm[part.start, 2] - acquisition.slice_step_mm / 2 - MARGIN_CELLS * cell_mm
    pixel_mm = acquisition.pixel_mm
    slab = Slab.of(
        stack.origins_mm[0, 0] + pixel_mm * np.arange(stack.columns),
        stack.origins_mm[0, 1] + pixel_mm * np.arange(stack.rows),
        lowest_mm + cell_mm * (np.arange(count) + 0.5),
        pixel_mm,
        air_hu=AIR_HU,
        bone_hu=BONE_HU,
    )
    draw_head(slab, np.random.default_rng(seed))
    targets_mm = (MARGIN_CELLS + CELLS_PER_SLICE * (np.arange(part.stop - part.start) + 0.5)) * cell_mm
    along = slice_matrix(targets_mm, count, cell_mm, acquisition.slice_thickness_mm).astype(np.float32)
    sliced = np.tensordot(along, slab.hu(), axes=1)
    main = _through(sliced, pixel_mm, acquisition.fwhm_mm)
    if not acquisition.overshoot:
        return main
    return main + acquisition.overshoot * (main - _through(sliced, pixel_mm, 1.6 * acquisition.fwhm_mm))


def _through(sliced: NDArray[np.float32], pixel_mm: float, fwhm_mm: float) -> NDArray[np.float32]:
    """Blur square slices in plane."""
    size = sliced.shape[1]
    centres_mm = (np.arange(size) + 0.5) * pixel_mm
    matrix = in_plane_matrix(centres_mm, size, pixel_mm, fwhm_mm).astype(np.float32)
    return np.asarray(matrix @ sliced @ matrix.T, np.float32)


def write_head(folder: Path, head: SimulatedHead) -> list[Path]:
    """Write the scan as a CT series."""
    return write_series(head.hu, head.stack, folder, study="simulated head", SliceThickness="0.8")
