"""`python -m benchmarks.accuracy [--quick] --out benchmarks/results`: score the model beside thresholds."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from pathlib import Path

from benchmarks.accuracy import closed_forms, plots
from benchmarks.accuracy.card import write_card
from benchmarks.accuracy.methods import Node
from benchmarks.accuracy.scoring import score_all
from benchmarks.accuracy.suites import cases, slabs
from benchmarks.accuracy.table import Run, as_json, markdown, picture
from benchmarks.accuracy.tally import Score, rows
from sbnode.config import Threshold

TEST_SEED = 4100
"""First seed of the test objects. Thresholds were tuned on seeds from `tune.DEVELOPMENT_SEED`, never on these."""

REPEATS, QUICK_REPEATS = 8, 1


def main() -> None:
    """Read the command line, score, write `accuracy.md`, `accuracy.json` and the curves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REPEATS} object of every kind, not {REPEATS}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/skullbase"))
    parser.add_argument("--seed", type=int, default=TEST_SEED)
    parser.add_argument("--card", type=Path, help="model card whose tables are replaced")
    options = parser.parse_args()
    scores: list[Score] = []
    done = 0
    parts = (
        [cases(options.seed, QUICK_REPEATS)] if options.quick else [cases(options.seed, REPEATS), slabs(options.seed)]
    )
    for objects in parts:  # What comes last is the most fragile: what is there by then is written first.
        scores += score_all(objects, options.model)
        done += len(objects)
        run = describe(options.model, options.seed, done, scores)
        write(run, options.out)
        if options.card:
            write_card(options.card, run)


def describe(model: Path, seed: int, objects: int, scores: list[Score]) -> Run:
    """The circumstances and rows of a run."""
    described = Node.open(model, Threshold()).model.description
    return Run(
        date=datetime.date.today().isoformat(),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, one for each scan",
        model=f"{described.name} {described.version} ({described.sha256[:12]})",
        objects=objects,
        seed=seed,
        rows=rows(scores),
        others={"S0 closed forms": closed_forms.table()},
    )


def write(run: Run, folder: Path) -> None:
    """Write the report, its figures as JSON and the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    report = markdown(run)
    (folder / "accuracy.md").write_text(report, encoding="utf-8")
    figures = {"run": run.circumstances, "suites": as_json(run.rows)}
    (folder / "accuracy.json").write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for suite, protocols in run.rows.items():
        plots.draw(protocols, folder / picture(suite))


if __name__ == "__main__":
    main()
