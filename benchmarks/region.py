"""`python -m benchmarks.region FOLDER`: what the region model says of real scans, whole and cut."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from sbnode.config import Config, Execution, Selection
from sbnode.errors import SeriesError
from sbnode.inference.region import RegionModel
from sbnode.inference.volume import Volume, read_volume
from sbnode.series import Instance, Series, SeriesKey, read_instance

RULES = Selection(max_slice_step_mm=9.0)
"""Coarser than the node accepts: the region needs no thin slices."""
CUTS = {"whole": (0, 6), "lower half": (0, 3), "upper half": (3, 6), "lower third": (0, 2), "upper third": (4, 6)}
"""Sixths of the slices."""


def series_in(folder: Path) -> list[Series]:
    """The series of a folder."""
    found: dict[SeriesKey, list[Instance]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            instance = read_instance(path)
        except ValueError:
            continue
        found.setdefault(instance.key, []).append(instance)
    return [Series.of(key, instances) for key, instances in found.items()]


def cuts(volume: Volume) -> Iterator[tuple[str, Volume]]:
    """The scan, and parts of it as if it had been cut short."""
    count = len(volume.hu)
    for name, (first, last) in CUTS.items():
        part = slice(first * count // 6, last * count // 6)
        stack = dataclasses.replace(volume.stack, origins_mm=volume.stack.origins_mm[part])
        yield name, dataclasses.replace(volume, hu=volume.hu[part], stack=stack)


def main() -> None:
    """Print a line per scan and cut."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.region", description=__doc__)
    parser.add_argument("folder", type=Path, help="folders of scans, one below the other")
    options = parser.parse_args()
    model = RegionModel.open(Config().model.region, Execution(provider="cpu"))
    print("| scan | slices | part | skull base, mL | mean probability | found |\n|---|---|---|---|---|---|")
    for folder in sorted(path for path in options.folder.iterdir() if path.is_dir()):
        for series in series_in(folder):
            try:
                volume = read_volume(series, RULES)
            except SeriesError:
                continue
            for name, part in cuts(volume):
                if len(part.hu) < 2:
                    continue
                found = model.locate(part)
                answer = "yes" if found.found else "no"
                figures = f"{found.bone_ml:.0f} | {found.confidence:.2f} | {answer}"
                print(f"| {folder.name} | {len(part.hu)} | {name} | {figures} |")


if __name__ == "__main__":
    main()
