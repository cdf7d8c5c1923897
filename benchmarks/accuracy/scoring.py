"""Scoring: every method on every scan of the test objects, one process per core."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.accuracy.baselines import classical
from benchmarks.accuracy.cores import on_all_cores
from benchmarks.accuracy.measures import Reference, measure
from benchmarks.accuracy.methods import Node
from benchmarks.accuracy.suites import Case
from benchmarks.accuracy.tally import Score
from sbnode.config import Threshold


def score(case: Case, model: Path) -> list[Score]:
    """Score all methods on all scans of one test object."""
    node = Node.open(model, Threshold())
    phantom = case.phantom()
    reference = Reference(phantom.truth())
    found = []
    for title, scan in case.scans(phantom):
        for method, estimate in {**classical(scan, reference), **node.estimates(scan)}.items():
            counts = measure(estimate.level, reference, scan.protocol.reach_mm)
            found.append(
                Score(
                    suite=case.suite,
                    protocol=title,
                    kind=case.kind,
                    method=method,
                    counts=counts,
                    seconds=estimate.seconds,
                )
            )
    return found


def score_all(objects: list[Case], model: Path) -> list[Score]:
    """Score many objects, one process per core."""
    return [one for found in on_all_cores(partial(score, model=model), objects) for one in found]
