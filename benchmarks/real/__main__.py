"""`python -m benchmarks.real FOLDER --out benchmarks/results`: what the methods make of real heads, side by side."""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.real.consistency import Mask, agreement, blurred
from benchmarks.real.methods import Levels, box_of, levels
from benchmarks.real.pictures import draw
from benchmarks.real.roof import Roof, roof
from benchmarks.region import series_in
from sbnode.config import Config
from sbnode.errors import SeriesError
from sbnode.inference import quality
from sbnode.inference.bone import Bone, Foramen
from sbnode.inference.foramina import find_foramina
from sbnode.inference.region import RegionMap
from sbnode.inference.skull_frame import SkullFrame, find_frame
from sbnode.inference.volume import Volume, read_volume
from sbnode.pipeline import Models

CREDITS = {
    "siemens-headneck-contrast": "N. Roduit, Weasis demo archive, CC BY 4.0",
    "visible-human-male-head": "courtesy of the U.S. National Library of Medicine",
    "philips-phantom-tilted": "neurolabusc/dcm_qa_ct, BSD-2",
}
EXPLANATION = (
    "Scans that the node accepts. No truth is known here: this shows what to expect, not how right it is. "
    "Orbital roof: rays from the middle of the orbit upwards, 0.4 mm apart, over 3.2 cm2 of each side; a hole is four "
    'or more neighbouring rays without bone; "-" where the region does not reach over all of it. Blurred further: '
    "0.6 mm more blur in the slices, every two slices averaged; thin bone is what is under 1.2 mm thick in the finer "
    "scan's own result. Each method is compared with itself."
)
OPENINGS = (
    "What the node finds of the named openings: the largest free circle in the narrowest section, the share of the rim "
    "that is bone, and the place in the frame of the skull (origin at the basion, back towards the opisthion). "
    "Their expected places were taken from these heads, which are therefore no independent check."
)
FINE_MM = 1.2
"""Slices further apart than this are coarse already: such a scan is not blurred further."""


@dataclass
class Tables:
    """What is written, line by line."""

    pictures: list[str] = field(default_factory=list)
    roofs: list[str] = field(
        default_factory=lambda: [
            "| scan | method | roof found, left / right | holes per cm2, left / right |",
            "|---|---|---|---|",
        ]
    )
    openings: list[str] = field(
        default_factory=lambda: [
            "| scan | opening | calibre, left / right, mm | rim | left, back, up of the basion, mm |",
            "|---|---|---|---|---|",
        ]
    )
    blurs: list[str] = field(default_factory=lambda: ["| scan | method | thin bone kept | Dice |", "|---|---|---|---|"])

    def text(self, models: Models) -> str:
        """The report."""
        described = models.occupancy.description
        version = f"{described.name} {described.version} ({described.sha256[:12]})"
        parts = (
            ["# Real scans", EXPLANATION, f"{datetime.date.today().isoformat()} \u00b7 {version}"],
            ["## S5: orbital roof", "\n".join(self.roofs)],
            ["## S5: openings", OPENINGS, "\n".join(self.openings)],
            ["## S4: the same scan, blurred further", "\n".join(self.blurs)],
            ["## Pictures", "\n".join(self.pictures)],
        )
        return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def main() -> None:
    """Draw a picture per scan and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__)
    parser.add_argument("folder", type=Path, help="folders of scans, one below the other")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    (options.out / "pictures").mkdir(parents=True, exist_ok=True)
    models, tables = Models.open(Config()), Tables()
    for folder in sorted(path for path in options.folder.iterdir() if path.is_dir()):
        for volume in _volumes(folder):
            region = models.region.locate(volume)
            if region.found:
                _look(folder.name, volume, region, models, tables, options.out)
    report = tables.text(models)
    (options.out / "real.md").write_text(report, encoding="utf-8")
    print(report)


def _look(name: str, volume: Volume, region: RegionMap, models: Models, tables: Tables, out: Path) -> None:
    """Add what a scan shows; without a frame of the skull nothing in it can be aimed at."""
    box = box_of(volume, region, models)
    finer, inside = levels(volume, region, box, models), region.sample(box)
    bone = finer.bone.within(inside)
    frame = find_frame(bone, region)
    if frame is None:
        tables.roofs.append(f"| {name} | no frame of the skull was found | - | - |")
        tables.openings.append(f"| {name} | no frame of the skull was found | - | - | - |")
    else:
        draw(finer, frame, f"{name} ({CREDITS.get(name, '')})", out / "pictures" / f"{name}.png")
        tables.pictures.append(f"![{name}](pictures/{name}.png)")
        tables.openings += _openings(name, bone, frame, volume)
        for method in finer.by_method:
            sides = [roof(finer, method, frame, side) for side in (1, -1)]
            tables.roofs.append(f"| {name} | {method} | {_found(sides)} | {_holes(sides)} |")
    if volume.stack.positions_mm[-1] - volume.stack.positions_mm[0] < FINE_MM * len(volume.hu):
        tables.blurs += _consistency(name, volume, finer, inside > 0.5, models)


def _volumes(folder: Path) -> list[Volume]:
    found = []
    for series in series_in(folder):
        try:
            found.append(read_volume(series, Config().selection))
        except SeriesError:
            continue
    return [volume for volume in found if len(volume.hu) > 1]


def _openings(name: str, bone: Bone, frame: SkullFrame, volume: Volume) -> list[str]:
    """A line per opening: what was found on both sides, and where."""
    found: dict[str, dict[str, Foramen]] = {}
    for foramen in find_foramina(bone, frame, volume, quality.measure(volume)):
        found.setdefault(foramen.name, {})[foramen.side] = foramen
    lines = []
    for opening, sides in found.items():
        ordered = [sides[""]] if "" in sides else [sides.get("left"), sides.get("right")]
        cells = [
            " / ".join("-" if f is None else write(f) for f in ordered)
            for write in (_calibre, lambda f: "-" if f.rim is None else f"{f.rim:.2f}", lambda f: _place(f, frame))
        ]
        lines.append(f"| {name} | {opening} | {' | '.join(cells)} |")
    return lines


def _calibre(foramen: Foramen) -> str:
    return "not resolvable" if foramen.calibre_mm is None else f"{foramen.calibre_mm:.1f}"


def _place(foramen: Foramen, frame: SkullFrame) -> str:
    if foramen.place_mm is None:
        return "-"
    left, back, up = (np.array(foramen.place_mm) - frame.origin_mm) @ frame.axes.T
    return f"{left:.0f}, {back:.0f}, {up:.0f}"


def _found(sides: list[Roof | None]) -> str:
    return " / ".join("-" if side is None else f"{100 * side.found:.1f} %" for side in sides)


def _holes(sides: list[Roof | None]) -> str:
    return " / ".join("-" if side is None else f"{side.holes_per_cm2:.1f}" for side in sides)


def _consistency(name: str, volume: Volume, finer: Levels, inside: Mask, models: Models) -> list[str]:
    coarse = blurred(volume)
    coarser = levels(coarse, models.region.locate(coarse), finer.grid, models)
    lines = []
    for method in finer.by_method:
        kept, dice = agreement(finer, coarser, method, inside)
        lines.append(f"| {name} | {method} | {100 * kept:.0f} % | {dice:.3f} |")
    return lines


if __name__ == "__main__":
    main()
