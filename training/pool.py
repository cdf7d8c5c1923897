"""A pool of simulated scans on disk that grows with training. Entry i is a pure function of (seed, i)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import ct, shapes
from simulator.canvas import Scene
from simulator.scene import TRAINING_GRID, random_scene
from simulator.shapes import FineGrid
from simulator.tissue import log_uniform

CELL_MM = 0.4
"""Grid of the network's input and output."""

RIM_CELLS = (8, 2, 2)
"""Cells cut from both ends of each axis, where the scene's own border shows through the slice profile and the blur."""

SCANS_PER_SCENE = 3


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One scene, scanned several ways, on cells of 0.4 mm.

    `hu` int16 (scan, slice, row, column); `occupancy` uint8 in 1/255; `marks` uint8, bit 0 sheet,
    bit 1 lumen.
    """

    hu: NDArray[np.int16]
    occupancy: NDArray[np.uint8]
    marks: NDArray[np.uint8]


def random_acquisition(random: np.random.Generator) -> ct.Acquisition:
    """A scanner setting: sharp goes with noisy, thin with noisy, slices may overlap; some are noisier still."""
    sharp = random.uniform()
    fwhm_mm = float(np.clip(1.15 - 0.75 * sharp + random.normal(0, 0.12), 0.35, 1.2))
    thickness_mm = log_uniform(random, 0.4, 1.5) if random.uniform() < 0.8 else log_uniform(random, 1.5, 5.0)
    step_mm = float(np.clip(thickness_mm * random.uniform(0.5, 1.0), 0.4, 5.0))
    level = log_uniform(random, 6.0, 40.0) * np.exp(1.6 * sharp**2) * min(1.5, thickness_mm**-0.5)
    if random.uniform() < 0.15:
        level *= random.uniform(1.0, 4.0)
    return ct.Acquisition(
        fwhm_mm=fwhm_mm,
        overshoot=random.uniform(0.0, 0.5) if random.uniform() < 0.4 else 0.0,
        slice_thickness_mm=thickness_mm,
        slice_step_mm=step_mm,
        pixel_mm=random.uniform(0.3, 0.6),
        noise_hu=float(np.clip(level, 5.0, 330.0)),
        phase=(random.uniform(), random.uniform(), random.uniform()),
        cupping_hu=random.normal(0, 12.0) if random.uniform() < 0.4 else 0.0,
        streaks_hu=abs(random.normal(0, 25.0)) if random.uniform() < 0.2 else 0.0,
        gain=random.uniform(0.97, 1.03),
    )


def simulate(seed: int, index: int, grid: FineGrid = TRAINING_GRID) -> Entry:
    """Entry `index` of the pool `seed`."""
    scene = random_scene(seed, index, grid)
    random = np.random.default_rng((seed, index, 1))
    factor = round(CELL_MM / scene.step_mm)
    rim = tuple(slice(cells, -cells) for cells in RIM_CELLS)
    scans = [_scan(scene, random)[rim] for _ in range(SCANS_PER_SCENE)]
    occupancy = shapes.block_mean(scene.bone, factor)[rim]
    sheet = shapes.block_max(scene.sheet, factor)[rim]
    lumen = shapes.block_max(scene.lumen, factor)[rim]
    return Entry(
        hu=np.stack(scans),
        occupancy=np.rint(occupancy * 255.0).astype(np.uint8),
        marks=(sheet.astype(np.uint8) + 2 * lumen.astype(np.uint8)).astype(np.uint8),
    )


def _scan(scene: Scene, random: np.random.Generator) -> NDArray[np.int16]:
    acquisition = random_acquisition(random)
    stored = ct.scan(scene.hu, scene.step_mm, acquisition, random)
    cells = round(scene.hu.shape[0] * scene.step_mm / CELL_MM)
    resampled = ct.to_input_grid(stored, acquisition, (cells, cells, cells), CELL_MM)
    return np.rint(resampled).astype(np.int16)


def entry_path(folder: Path, index: int) -> Path:
    """File of one entry."""
    return folder / f"scene-{index:05d}.npz"


def write(folder: Path, index: int, entry: Entry) -> None:
    """Write an entry; a reader sees it whole or not at all."""
    partial = folder / f"scene-{index:05d}.part"
    with partial.open("wb") as stream:
        np.savez(stream, hu=entry.hu, occupancy=entry.occupancy, marks=entry.marks)
    partial.rename(entry_path(folder, index))


def read(folder: Path, index: int) -> Entry:
    """Read an entry that `write` wrote."""
    with np.load(entry_path(folder, index)) as stored:
        arrays: dict[str, NDArray[Any]] = {name: stored[name] for name in ("hu", "occupancy", "marks")}
    return Entry(hu=arrays["hu"], occupancy=arrays["occupancy"], marks=arrays["marks"])


def generate(folder: Path, seed: int, indices: range, grid: FineGrid = TRAINING_GRID) -> None:
    """Simulate the entries that are not there yet, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in indices:
        if not entry_path(folder, index).exists():
            write(folder, index, simulate(seed, index, grid))


def wait_for(folder: Path, index: int, poll_s: float = 0.5) -> Entry:
    """Read an entry as soon as `generate` has written it."""
    while not entry_path(folder, index).exists():
        time.sleep(poll_s)
    return read(folder, index)
