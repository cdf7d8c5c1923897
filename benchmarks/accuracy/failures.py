"""`python -m benchmarks.accuracy.failures --out models/skullbase/failures.png`: where sbnode is wrong, in pictures.

On development objects, the worst of each kind and protocol: the thickest plate that is lost, the widest canal and the
widest true hole that are closed, on the three protocols. Each is cut so that the structure is seen across.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.cores import on_all_cores
from benchmarks.accuracy.measures import CONTINUITY_MM, FINE_MM, Reference, is_open, rays
from benchmarks.accuracy.methods import Node, on_grid
from benchmarks.accuracy.phantom import Truth
from benchmarks.accuracy.scans import Field, Scan, at_points
from benchmarks.accuracy.suites import ANATOMY, Case, cases
from benchmarks.accuracy.tune import DEVELOPMENT_SEED
from sbnode.config import Threshold
from sbnode.inference.threshold import adaptive_threshold

matplotlib.use("Agg")

REPEATS = 3
HALF_MM, PIXEL_MM = 6.0, 0.05
WINDOW_HU = (-600.0, 1800.0)
LOST_SHARE = 0.5
"""A plate counts as lost where this share of the rays near a point meet no bone ..."""
NEAR_MM = 1.0
"""... near being within this."""

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A structure that is wrong; ``pictures`` are the scan, the truth and the result, each (row, column)."""

    kind: str
    protocol: str
    size_mm: float
    pictures: tuple[NDArray[np.float64], ...]


def find(case: Case, model: Path) -> list[Failure]:
    """Return the worst failure of each kind on every scan of one object."""
    node, phantom = Node.open(model, Threshold()), case.phantom()
    truth = phantom.truth()
    true_level = Reference(truth).field
    found = []
    for title, scan in case.scans(phantom):
        bone = adaptive_threshold(node.occupancy(scan), node.threshold)
        level = on_grid(bone.level, bone.grid)
        worst: dict[str, tuple[float, Points, Points]] = {}
        for kind, size_mm, middle, normal in _wrong(level, truth, scan):
            if size_mm > worst.get(kind, (0.0,))[0]:
                worst[kind] = (size_mm, middle, normal)
        for kind, (size_mm, middle, normal) in worst.items():
            plane = _plane(middle, normal)
            pictures = tuple(at_points(field, plane) for field in (scan.field, true_level, level))
            found.append(Failure(kind=kind, protocol=title.split(":")[0], size_mm=size_mm, pictures=pictures))
    return found


def _wrong(level: Field, truth: Truth, scan: Scan) -> Iterator[tuple[str, float, Points, Points]]:
    """Yield kind, size, middle and an axis that lies in the cut."""
    low, high = CONTINUITY_MM
    for plate in truth.plates:
        missed = ~rays(level, plate, scan.protocol.reach_mm)
        for k in np.flatnonzero(missed & (plate.thickness_mm > low - 1e-6) & (plate.thickness_mm < high + 1e-6)):
            near = np.linalg.norm(plate.points_mm - plate.points_mm[k], axis=1) < NEAR_MM
            if missed[near].mean() >= LOST_SHARE:
                yield "plate lost", float(plate.thickness_mm[k]), plate.points_mm[k], plate.normals[k]
    for kind, passages, share in (("canal closed", truth.canals, 0.5), ("hole closed", truth.holes, None)):
        for passage in passages:
            calibre_mm = FINE_MM if share is None else share * passage.radius_mm
            if not is_open(level, passage, calibre_mm):
                middle = len(passage.axis_mm) // 2
                along = passage.axis_mm[-1] - passage.axis_mm[0]
                yield kind, 2 * passage.radius_mm, passage.axis_mm[middle], along / np.linalg.norm(along)


def _plane(middle_mm: Points, axis: Points) -> Points:
    """Points (row, column, 3) of a cut through the middle that holds the axis, which points down."""
    other = np.eye(3)[int(np.argmin(np.abs(axis)))]
    across = np.cross(axis, other)
    across /= np.linalg.norm(across)
    line = np.arange(-HALF_MM, HALF_MM, PIXEL_MM)
    plane: Points = middle_mm + line[:, None, None] * axis + line[None, :, None] * across
    return plane


def draw(failures: list[Failure], path: Path) -> None:
    """One row per kind and protocol: scan, truth, result."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(failures), 3, figsize=(6.6, 2.2 * len(failures)), squeeze=False)
    for row, failure in zip(axes, failures, strict=True):
        for panel, picture, name in zip(row, failure.pictures, ("scan", "true bone", "sbnode"), strict=True):
            low, high = WINDOW_HU if name == "scan" else (0.0, 1.0)
            shown = picture if name == "scan" else picture > 0
            panel.imshow(shown, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.set_title(name, fontsize=8)
        row[0].set_ylabel(f"{failure.protocol}: {failure.kind}\n{failure.size_mm:.2f} mm", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    """Find the worst failures and draw them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.failures", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/skullbase"))
    options = parser.parse_args()
    objects = [case for case in cases(DEVELOPMENT_SEED, REPEATS) if case.suite != ANATOMY]
    every = [one for found in on_all_cores(partial(find, model=options.model), objects) for one in found]
    worst: dict[tuple[str, str], Failure] = {}
    for failure in every:
        key = (failure.protocol, failure.kind)
        if key not in worst or failure.size_mm > worst[key].size_mm:
            worst[key] = failure
    shown = [failure for (protocol, _), failure in sorted(worst.items()) if protocol != "any"]
    if shown:
        draw(shown, options.out)
    for (protocol, kind), failure in sorted(worst.items()):
        print(f"{protocol}: {kind}, {failure.size_mm:.2f} mm")


if __name__ == "__main__":
    main()
