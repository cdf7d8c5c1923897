"""Suite S6: the chart through an independent CT simulator, XCIST's CatSim (Wu et al., Phys. Med. Biol. 67, 2022).

Cone-beam projections of a voxelised object with a polychromatic spectrum, a focal spot and detector cells of finite
size and quantum noise, reconstructed by filtered backprojection (FDK): nothing of it is shared with `simulator/ct.py`.
"""

from __future__ import annotations

import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
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
    """Scan an object of the chart."""
    import gecatsim
    import gecatsim.pyfiles.randpf
    from gecatsim.reconstruction.pyfiles import fdk_equiAngle

    with TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)  # CatSim writes where it stands, and tells much.
        try:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                return _scan(gecatsim, fdk_equiAngle, phantom, seed)
        finally:
            os.chdir(here)


def _scan(gecatsim: ModuleType, fdk: ModuleType, phantom: Phantom, seed: int) -> Scan:
    np.random.seed(seed)  # CatSim draws electronic noise from NumPy's global generator ...
    gecatsim.pyfiles.randpf.clib.setall(seed, seed + 1)  # ... and quantum noise from its own.
    _write_phantom(phantom)
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
    shape = [VIEWS, ROWS, COLUMNS]
    projections = gecatsim.rawread("scan.prep", shape, "float")
    per_mm = fdk.fdk_equiAngle(simulation, projections)
    hu = np.asarray(per_mm, np.float32) * (1000.0 / WATER_PER_MM) - 1000.0
    spacing = np.array([PROTOCOL.slice_mm, PROTOCOL.pixel_mm, PROTOCOL.pixel_mm])
    values = np.ascontiguousarray(hu.transpose(2, 0, 1)[::-1])
    return Scan(protocol=PROTOCOL, field=Field(values=values, origin_mm=0.5 * spacing, spacing_mm=spacing))


def _write_phantom(phantom: Phantom) -> None:
    """Fractions of water and of bone; fat and air are thin water."""
    bone = phantom.bone
    soft_hu = np.where(bone < 0.99, (phantom.hu - bone * BONE_HU) / np.maximum(1.0 - bone, 0.01), 0.0)
    water = np.clip(1.0 + soft_hu / 1000.0, 0.0, 1.2) * (1.0 - bone)
    materials: dict[str, FloatArray] = {"water": water.astype(np.float32), "ncat_skull": BONE_DENSITY * bone}
    names = list(materials)
    for name, fraction in materials.items():
        np.asarray(fraction, np.float32).tofile(f"{name}.raw")
    description = {
        "n_materials": len(names),
        "mat_name": names,
        "volumefractionmap_filename": [f"{name}.raw" for name in names],
        "volumefractionmap_datatype": ["float"] * len(names),
        **{key: [CELLS] * len(names) for key in ("cols", "rows", "slices")},
        **{f"{axis}_size": [STEP_MM] * len(names) for axis in "xyz"},
        **{f"{axis}_offset": [0.5 * (CELLS + 1)] * len(names) for axis in "xyz"},
    }
    Path("object.json").write_text(json.dumps(description), encoding="utf-8")
