"""`python -m benchmarks.accuracy [--quick] --out benchmarks/results`: score the model beside thresholds."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from benchmarks.accuracy import grammar, methods
from benchmarks.accuracy.card import write_card
from benchmarks.accuracy.measures import Counts, Reference, measure, rates
from benchmarks.accuracy.scans import PROTOCOLS, Protocol, acquire
from benchmarks.accuracy.table import Run, markdown
from sbnode.config import Threshold

TEST_SEED = 4100
"""First seed of the test objects. Thresholds were tuned on seeds from `DEVELOPMENT_SEED`, never on these."""

DEVELOPMENT_SEED = 9100


class Tally:
    """Counts and seconds per acquisition and method."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, Counts]] = {}
        self.seconds: dict[str, dict[str, float]] = {}
        self.scans: dict[str, int] = {}

    def add(self, label: str, estimates: dict[str, methods.Estimate], reference: Reference, reach_mm: float) -> None:
        """Score every estimate of one scan."""
        counts, seconds = self.counts.setdefault(label, {}), self.seconds.setdefault(label, {})
        self.scans[label] = self.scans.get(label, 0) + 1
        for name, estimate in estimates.items():
            counts[name] = counts.get(name, Counts()) + measure(estimate.level, reference, reach_mm)
            seconds[name] = seconds.get(name, 0.0) + estimate.seconds

    def rows(self) -> dict[str, dict[str, dict[str, float]]]:
        """Figures per acquisition and method; seconds are per scan."""
        return {
            label: {
                name: {**rates(counts), "seconds": self.seconds[label][name] / self.scans[label]}
                for name, counts in by_method.items()
            }
            for label, by_method in self.counts.items()
        }


def score(node: methods.Node, seed: int, repeats: int, protocols: tuple[Protocol, ...] = PROTOCOLS) -> Tally:
    """Score all methods on `repeats` objects of every kind."""
    tally = Tally()
    for repeat in range(repeats):
        for kind in grammar.KINDS:
            scene_hu, truth = grammar.build(kind, seed + repeat)
            reference = Reference(truth)
            for index, protocol in enumerate(protocols):
                scan = acquire(scene_hu, protocol, seed + 10 * repeat + index)
                estimates = {**methods.classical(scan, reference), **node.estimates(scan)}
                reach_mm = max(0.3, 0.5 * max(protocol.slice_mm, protocol.pixel_mm))
                tally.add(f"{protocol.name}: {protocol.label}", estimates, reference, reach_mm)
    return tally


def main() -> None:
    """Read the command line, score, write `accuracy.md` and `accuracy.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one object of every kind instead of four")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/skullbase"))
    parser.add_argument("--seed", type=int, default=TEST_SEED)
    parser.add_argument("--card", type=Path, help="model card whose tables are replaced")
    options = parser.parse_args()
    node = methods.Node.open(options.model, Threshold())
    repeats = 1 if options.quick else 4
    tally = score(node, options.seed, repeats)
    described = node.model.description
    run = Run(
        date=datetime.date.today().isoformat(),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, network on one of them",
        model=f"{described.name} {described.version} ({described.sha256[:12]})",
        objects=repeats * len(grammar.KINDS),
        seed=options.seed,
        rows=tally.rows(),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    report = markdown(run)
    (options.out / "accuracy.md").write_text(report, encoding="utf-8")
    (options.out / "accuracy.json").write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")
    if options.card:
        write_card(options.card, run)
    print(report)


if __name__ == "__main__":
    main()
