"""`python -m benchmarks.accuracy.ablation --out benchmarks/results`: what each rule of the adaptive threshold gives.

Every rule is taken away or altered alone, on development seeds: here the rules were chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.cores import on_all_cores
from benchmarks.accuracy.measures import Counts, Reference, measure, rates
from benchmarks.accuracy.methods import Node, on_grid
from benchmarks.accuracy.suites import Case, cases
from benchmarks.accuracy.tune import DEVELOPMENT_SEED
from sbnode.config import Threshold
from sbnode.inference import threshold

REPEATS = 3
SHOWN = (
    "h",
    "continuity",
    "patency",
    "nsd_250um",
    "nsd_500um",
    "assd_mm",
    "thickness_ratio",
    "far_false_bone",
    "wide_holes_closed",
)
NEVER = 2.0
"""No evidence exceeds one."""

Change = dict[str, Any]
VARIANTS: dict[str, tuple[Change, Change]] = {
    "as it is": ({}, {}),
    "evidence of canals counts everywhere": ({"CANAL_CORE": -1.0}, {}),
    "evidence of canals doesn't count": ({}, {"lumen_shift": 0.0}),
    "evidence of sheets doesn't count": ({}, {"sheet_shift": 0.0}),
    "sheets count where plates are clear too": ({"SHEET_FADES": (2.0, 3.0)}, {}),
    "no line of canals": ({"LINE_EVIDENCE": NEVER}, {}),
    "no ridge of plates": ({"RIDGE_EVIDENCE": NEVER}, {}),
    "ridge beside canals too": ({"RIDGE_CANAL": NEVER}, {}),
    "neither sheets nor canals": ({"RIDGE_EVIDENCE": NEVER}, {"lumen_shift": 0.0, "sheet_shift": 0.0}),
}
"""Constants of `sbnode.inference.threshold`, and settings, that a variant changes."""


@contextmanager
def changed(constants: Change) -> Iterator[None]:
    """Other values for constants of the threshold, for a while."""
    kept = {name: getattr(threshold, name) for name in constants}
    vars(threshold).update(constants)
    try:
        yield
    finally:
        vars(threshold).update(kept)


def count(case: Case, model: Path) -> dict[tuple[str, str, str], Counts]:
    """Score every variant on every scan of one object: {(suite, protocol, variant): counts}."""
    node, phantom = Node.open(model, Threshold()), case.phantom()
    reference = Reference(phantom.truth())
    found = {}
    for title, scan in case.scans(phantom):
        occupancy = node.occupancy(scan)
        for name, (constants, settings) in VARIANTS.items():
            with changed(constants):
                level = threshold.adaptive_threshold(occupancy, Threshold().model_copy(update=settings)).level
            field = on_grid(level, occupancy.grid)
            found[case.suite, title, name] = measure(field, reference, scan.protocol.reach_mm)
        half = on_grid(occupancy.bone.astype(np.float32) - np.float32(0.5), occupancy.grid)
        found[case.suite, title, "network at 0.5"] = measure(half, reference, scan.protocol.reach_mm)
    return found


def main() -> None:
    """Score and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.ablation", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/skullbase"))
    options = parser.parse_args()
    objects = cases(DEVELOPMENT_SEED, REPEATS)
    sums: dict[tuple[str, str, str], Counts] = {}
    for found in on_all_cores(partial(count, model=options.model), objects):
        for key, counts in found.items():
            sums[key] = sums.get(key, Counts()) + counts
    described = Node.open(options.model, Threshold()).model.description
    lines = [
        "# What each rule of the adaptive threshold gives",
        "",
        f"{described.name} {described.version}; development seeds from {DEVELOPMENT_SEED}, {len(objects)} objects. "
        "Columns as in accuracy.md.",
        "",
        "| suite | protocol | rule | " + " | ".join(SHOWN) + " |",
        "|---|---|---|" + "---|" * len(SHOWN),
    ]
    for (suite, title, name), counts in sorted(sums.items(), key=lambda item: item[0][:2]):
        figures = rates(counts)
        cells = " | ".join("-" if np.isnan(figures[key]) else f"{figures[key]:.3f}" for key in SHOWN)
        lines.append(f"| {suite} | {title.split(':')[0]} | {name} | {cells} |")
    (options.out / "ablation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
