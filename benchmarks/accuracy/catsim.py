"""Suite S6: the chart through an independent CT simulator, XCIST's CatSim (Wu et al., Phys. Med. Biol. 67, 2022).

Cone-beam projections of a voxelised object with a polychromatic spectrum, a focal spot and detector cells of finite
size and quantum noise, reconstructed by filtered backprojection (FDK): nothing of it is shared with `simulator/ct.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.accuracy.chart import BONE_HU
from benchmarks.accuracy.phantom import CELLS, LENGTH_MM, STEP_MM, FloatArray, Phantom
from benchmarks.accuracy.scans import Field, Protocol, Scan

PROTOCOL = Protocol(
    name="catsim",
    label="0.4 x 0.4 x 0.6 mm, 120 kV, FDK",
    pixel_mm=0.4,
    slice_mm=0.6,
)
VIEWS = 600
COLUMNS, ROWS = 110, 44
MILLIAMPERES = 2.0
"""The object lies in air: more would leave no noise."""
WATER_PER_MM, BONE_DENSITY = 0.0209, 1.07
"""What scales the reconstruction so that water is 0 HU and the bone of the chart about 1300 HU."""
SAMPLING = {"energyCount": 8, "colSampleCount": 2, "rowSampleCount": 2, "srcXSampleCount": 2, "srcYSampleCount": 1}
"""Coarser than CatSim's defaults, which take four times as long; views are not smeared."""
KERNEL = "R-L"


def scan(phantom: Phantom, seed: int) -> Scan:
    """Scan an object of the chart, in a process of its own: CatSim works in the current folder and ends badly when it
    runs twice.

    Raises:
        RuntimeError: CatSim failed; the message holds the end of what it printed.
    """
    with TemporaryDirectory() as folder:
        _write_phantom(phantom, Path(folder))
        root = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.accuracy.catsim", str(seed)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"CatSim ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
        values = np.load(Path(folder) / "scan.npy")
    spacing = np.array([PROTOCOL.slice_mm, PROTOCOL.pixel_mm, PROTOCOL.pixel_mm])
    return Scan(protocol=PROTOCOL, field=Field(values=values, origin_mm=0.5 * spacing, spacing_mm=spacing))


def main() -> None:
    """Scan the object of the current folder into ``scan.npy``, HU (slice, row, column); the argument is the seed."""
    import gecatsim
    from gecatsim.pyfiles import randpf
    from gecatsim.reconstruction.pyfiles import fdk_equiAngle

    seed = int(sys.argv[1])
    np.random.seed(seed)  # CatSim draws electronic noise from NumPy's global generator ...
    randpf.clib.setall(seed, seed + 1)  # ... and quantum noise from its own.
    simulation: Any = gecatsim.CatSim()
    simulation.resultsName = "scan"
    simulation.phantom.filename = str(Path("object.json").resolve())
    simulation.phantom.projectorNumThreads = 1
    vars(simulation.physics).update(SAMPLING, viewSampleCount=1)
    simulation.protocol.viewsPerRotation = simulation.protocol.viewCount = VIEWS
    simulation.protocol.stopViewId = VIEWS - 1
    simulation.protocol.mA = MILLIAMPERES
    simulation.protocol.bowtie = []
    simulation.scanner.detectorColCount = COLUMNS
    simulation.scanner.detectorRowsPerMod = simulation.scanner.detectorRowCount = ROWS
    simulation.recon.fov = LENGTH_MM
    simulation.recon.imageSize = round(LENGTH_MM / PROTOCOL.pixel_mm)
    simulation.recon.sliceCount = round(LENGTH_MM / PROTOCOL.slice_mm)
    simulation.recon.sliceThickness = PROTOCOL.slice_mm
    simulation.recon.kernelType = KERNEL
    simulation.run_all()
    projections = gecatsim.rawread("scan.prep", [VIEWS, ROWS, COLUMNS], "float")
    per_mm = np.asarray(fdk_equiAngle.fdk_equiAngle(simulation, projections), np.float32)
    hu = per_mm * (1000.0 / WATER_PER_MM) - 1000.0
    np.save("scan.npy", np.ascontiguousarray(hu.transpose(2, 0, 1)[::-1], np.float32))


def _write_phantom(phantom: Phantom, folder: Path) -> None:
    """Fractions of water and of bone; fat and air are thin water."""
    bone = phantom.bone
    soft_hu = np.where(bone < 0.99, (phantom.hu - bone * BONE_HU) / np.maximum(1.0 - bone, 0.01), 0.0)
    water = np.clip(1.0 + soft_hu / 1000.0, 0.0, 1.2) * (1.0 - bone)
    materials: dict[str, FloatArray] = {"water": water.astype(np.float32), "ncat_skull": BONE_DENSITY * bone}
    names = list(materials)
    for name, fraction in materials.items():
        np.asarray(fraction, np.float32).tofile(folder / f"{name}.raw")
    description = {
        "n_materials": len(names),
        "mat_name": names,
        "volumefractionmap_filename": [f"{name}.raw" for name in names],
        "volumefractionmap_datatype": ["float"] * len(names),
        **{key: [CELLS] * len(names) for key in ("cols", "rows", "slices")},
        **{f"{axis}_size": [STEP_MM] * len(names) for axis in "xyz"},
        **{f"{axis}_offset": [0.5 * (CELLS + 1)] * len(names) for axis in "xyz"},
    }
    (folder / "object.json").write_text(json.dumps(description), encoding="utf-8")


if __name__ == "__main__":
    main()
