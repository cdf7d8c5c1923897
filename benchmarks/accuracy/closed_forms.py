"""Suite S0: the peak of a plate and the axis of a canal in the simulator, beside their closed forms.

Gaussian blur of deviation s: a plate of thickness t peaks at erf(t / (2 sqrt(2) s)) of the step, the axis of a canal
of radius r falls to 1 - exp(-r^2 / (2 s^2)) of it.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.phantom import CELLS, LENGTH_MM, STEP_MM
from benchmarks.accuracy.scans import Field, at_points
from simulator import ct

FWHM_MM = 0.7
BONE_HU, SOFT_HU = 1300.0, 40.0
PLATES_MM = (0.2, 0.3, 0.5, 1.0, 1.5)
CANALS_MM = (0.6, 0.8, 1.0, 1.5, 2.0)
MIDDLE_MM = 0.5 * LENGTH_MM


def table() -> list[str]:
    """Lines of a Markdown table: size, HU of the closed form, HU of the simulator."""
    lines = ["| structure, FWHM 0.7 mm, in plane | closed form, HU | simulated, HU |", "|---|---|---|"]
    for size in PLATES_MM:
        lines.append(f"| plate of {size} mm | {plate_hu(size):.0f} | {_scanned(_plate(size)):.0f} |")
    for size in CANALS_MM:
        lines.append(f"| canal of {size} mm | {canal_hu(size):.0f} | {_scanned(_canal(size)):.0f} |")
    return lines


def plate_hu(thickness_mm: float) -> float:
    """Peak of a plate."""
    return SOFT_HU + (BONE_HU - SOFT_HU) * ct.plate_peak(thickness_mm, FWHM_MM)


def canal_hu(diameter_mm: float) -> float:
    """Lowest value on the axis of a canal."""
    return SOFT_HU + (BONE_HU - SOFT_HU) * ct.canal_axis(diameter_mm, FWHM_MM)


def _plate(thickness_mm: float) -> np.typing.NDArray[np.float32]:
    """A plate across the columns; its edges are exact in mass."""
    x = (np.arange(CELLS) + 0.5) * STEP_MM - MIDDLE_MM
    share = np.clip(0.5 + (0.5 * thickness_mm - np.abs(x)) / STEP_MM, 0.0, 1.0)
    line = (SOFT_HU + (BONE_HU - SOFT_HU) * share).astype(np.float32)
    return np.broadcast_to(line, (CELLS, CELLS, CELLS)).copy()


def _canal(diameter_mm: float) -> np.typing.NDArray[np.float32]:
    """A canal along the slices."""
    x = (np.arange(CELLS) + 0.5) * STEP_MM - MIDDLE_MM
    away = np.hypot(x[:, None], x[None, :])
    share = np.clip(0.5 + (0.5 * diameter_mm - away) / STEP_MM, 0.0, 1.0)
    plane = (BONE_HU + (SOFT_HU - BONE_HU) * share).astype(np.float32)
    return np.broadcast_to(plane, (CELLS, CELLS, CELLS)).copy()


def _scanned(scene_hu: np.typing.NDArray[np.float32]) -> float:
    """HU in the middle of a noiseless scan whose pixels are small."""
    acquisition = ct.Acquisition(
        fwhm_mm=FWHM_MM,
        overshoot=0.0,
        slice_thickness_mm=0.4,
        slice_step_mm=0.4,
        pixel_mm=0.1,
        noise_hu=0.0,
        phase=(0.5, 0.5, 0.5),
    )
    stored = ct.scan(scene_hu, STEP_MM, acquisition, np.random.default_rng(0)).astype(np.float32)
    spacing = np.array(acquisition.spacing_mm)
    field = Field(values=stored, origin_mm=0.5 * spacing, spacing_mm=spacing)
    return float(at_points(field, np.full((1, 3), MIDDLE_MM))[0])
