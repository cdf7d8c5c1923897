"""Cuts through the named places, CT beside what each method calls bone."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray

from benchmarks.real.methods import Levels
from sbnode.inference.skull_frame import SkullFrame

CUTS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "orbital roofs, lamina papyracea, cribriform plate": ("coronal", (0.0, -60.0, 36.0)),
    "optic canals, clinoids": ("coronal", (0.0, -38.0, 32.0)),
    "ethmoid, optic canals": ("axial", (0.0, -45.0, 36.0)),
    "foramen ovale, carotid canals, petrous bones": ("axial", (0.0, -15.0, 15.0)),
    "jugular foramina, mastoids": ("axial", (0.0, 5.0, 5.0)),
}
"""Orientation and middle in the frame of the skull: mm to the left, back and up from the basion."""
HALF_MM, PIXEL_MM = (48.0, 34.0), 0.3
WINDOW_HU = (-600.0, 1800.0)


def draw(levels: Levels, frame: SkullFrame, title: str, path: Path) -> None:
    """One row per cut; columns are the CT and the methods, bone white. Radiological convention: right is left."""
    names = ["HU", *levels.by_method]
    figure, axes = pyplot.subplots(len(CUTS), len(names), figsize=(3.4 * len(names), 2.6 * len(CUTS)))
    for row, (name, (orientation, middle)) in enumerate(CUTS.items()):
        points = frame.to_patient(np.array(middle) + _plane(orientation))
        for panel, method in zip(axes[row], names, strict=True):
            values = levels.at(method, points)
            shown = values if method == "HU" else (values > 0).astype(np.float32)
            low, high = WINDOW_HU if method == "HU" else (0.0, 1.0)
            panel.imshow(shown, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            if row == 0:
                panel.set_title("CT" if method == "HU" else method, fontsize=10)
        axes[row, 0].set_ylabel(f"{name}\n({orientation})", fontsize=7)
    figure.suptitle(f"{title}. Research and education only, not a medical device.", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=72, metadata={"Software": None})
    pyplot.close(figure)


def _plane(orientation: str) -> NDArray[np.float64]:
    """Points (row, column, 3) of a cut along the axes of the skull, mm from its middle."""
    across = np.arange(-HALF_MM[0], HALF_MM[0], PIXEL_MM)
    down = np.arange(-HALF_MM[1], HALF_MM[1], PIXEL_MM)
    rows, columns = np.meshgrid(down, across, indexing="ij")
    nothing = np.zeros_like(rows)
    offsets = (columns, rows, nothing) if orientation == "axial" else (columns, nothing, -rows)
    return np.stack(offsets, axis=-1)
