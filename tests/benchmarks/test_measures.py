"""The measures say what they claim: perfect truth scores perfectly, known faults score as known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import grammar
from benchmarks.accuracy.measures import Reference, measure, rates
from benchmarks.accuracy.scans import Field


@pytest.fixture(scope="module")
def dome() -> Reference:
    return Reference(grammar.build("dome", 1)[1])


@pytest.fixture(scope="module")
def slab() -> Reference:
    return Reference(grammar.build("slab", 2)[1])


def altered(reference: Reference, add: float) -> Field:
    true = reference.field
    return Field(values=true.values + np.float32(add), origin_mm=true.origin_mm, spacing_mm=true.spacing_mm)


def test_the_truth_itself_scores_perfectly(dome: Reference, slab: Reference) -> None:
    figures = rates(measure(dome.field, dome, 0.3) + measure(slab.field, slab, 0.3))
    for name in ("continuity", "patency", "h", "thin_recall", "gap_recall", "nsd_250um"):
        assert figures[name] == pytest.approx(1.0, abs=0.01), name
    assert figures["far_false_bone"] == 0.0
    assert figures["holes_closed"] == 0.0
    assert figures["assd_mm"] < 0.05


def test_bone_everywhere_closes_every_canal_and_hole(dome: Reference, slab: Reference) -> None:
    figures = rates(measure(altered(dome, 1.0), dome, 0.3) + measure(altered(slab, 1.0), slab, 0.3))
    assert figures["continuity"] == 1.0
    assert figures["patency"] == 0.0
    assert figures["h"] == 0.0
    assert figures["holes_closed"] == 1.0
    assert figures["far_false_bone"] == 1.0


def test_no_bone_anywhere_breaks_every_plate(dome: Reference) -> None:
    figures = rates(measure(altered(dome, -1.0), dome, 0.3))
    assert figures["continuity"] == 0.0
    assert figures["holes_closed"] == 0.0
    assert figures["nsd_500um"] < 0.05


def test_an_object_repeats_itself() -> None:
    hu, truth = grammar.build("petrous", 11)
    again, _ = grammar.build("petrous", 11)
    assert np.array_equal(hu, again)
    assert len(truth.canals) == 2
