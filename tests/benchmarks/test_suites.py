"""The suites: what is drawn is what is scored, seeds are kept apart, and the simulator keeps to the closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import anatomy, baselines, chart, closed_forms
from benchmarks.accuracy.__main__ import REPEATS, TEST_SEED
from benchmarks.accuracy.measures import Reference, measure, rates
from benchmarks.accuracy.phantom import Phantom
from benchmarks.accuracy.scans import PROTOCOLS, acquire
from benchmarks.accuracy.suites import cases
from benchmarks.accuracy.tune import DEVELOPMENT_SEED
from benchmarks.accuracy.tune import REPEATS as TUNED


@pytest.mark.parametrize("kind", sorted(chart.KINDS))
def test_the_truth_of_the_chart_scores_perfectly(kind: str) -> None:
    reference = Reference(chart.KINDS[kind](np.random.default_rng(5)).truth())
    counts = measure(reference.field, reference, 0.3)
    figures = rates(counts)
    cases_, found = (counts.by_thickness if kind == "plates" else counts.by_calibre).T
    assert cases_.sum() > 0
    assert np.array_equal(cases_, found)
    assert figures["assd_mm"] < 0.05


@pytest.mark.parametrize("size", closed_forms.PLATES_MM)
def test_a_simulated_plate_peaks_where_the_closed_form_says(size: float) -> None:
    step = closed_forms.BONE_HU - closed_forms.SOFT_HU
    assert closed_forms._scanned(closed_forms._plate(size)) == pytest.approx(
        closed_forms.plate_hu(size), abs=0.02 * step
    )


@pytest.mark.parametrize("size", closed_forms.CANALS_MM)
def test_a_simulated_canal_falls_where_the_closed_form_says(size: float) -> None:
    step = closed_forms.BONE_HU - closed_forms.SOFT_HU
    assert closed_forms._scanned(closed_forms._canal(size)) == pytest.approx(
        closed_forms.canal_hu(size), abs=0.02 * step
    )


def test_no_object_of_the_test_is_one_that_was_tuned_on() -> None:
    tested = {(case.suite, case.kind, case.seed) for case in cases(TEST_SEED, REPEATS)}
    tuned = {(case.suite, case.kind, case.seed) for case in cases(DEVELOPMENT_SEED, TUNED)}
    assert tested.isdisjoint(tuned)


@pytest.fixture(scope="module")
def wall(shared_data: Path) -> Phantom:
    meshes = shared_data / "skull-bones-bodyparts3d"
    return anatomy.build("foramen ovale", meshes, 0.5, np.random.default_rng(3))


def test_the_walls_of_a_bone_are_as_thick_as_wanted(wall: Phantom) -> None:
    truth = wall.truth()
    assert np.median(truth.plates[0].thickness_mm) == pytest.approx(0.5, abs=0.1)
    reference = Reference(truth)
    assert rates(measure(reference.field, reference, 0.3))["continuity"] > 0.99


def test_every_baseline_finds_the_thick_bone_of_a_thin_scan() -> None:
    phantom = chart.canals(np.random.default_rng(5))
    reference = Reference(phantom.truth())
    scan = acquire(phantom.hu, PROTOCOLS[0], 1)
    for name, estimate in baselines.classical(scan, reference).items():
        assert rates(measure(estimate.level, reference, 0.3))["nsd_1mm"] > 0.9, name
