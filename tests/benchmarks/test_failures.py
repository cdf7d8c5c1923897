"""The pictures of failures show what is wrong, and nothing where all is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import grammar
from benchmarks.accuracy.failures import Failure, _plane, _wrong, draw
from benchmarks.accuracy.measures import Reference
from benchmarks.accuracy.scans import PROTOCOLS, Field, acquire

THIN = PROTOCOLS[0]


@pytest.mark.parametrize(
    ("add", "kinds"), [(0.0, set()), (1.0, {"hole closed"}), (-1.0, {"plate lost"})], ids=["truth", "full", "empty"]
)
def test_each_fault_is_found(add: float, kinds: set[str]) -> None:
    hu, truth = grammar.build("dome", 1)
    true = Reference(truth).field
    level = Field(values=true.values + np.float32(add), origin_mm=true.origin_mm, spacing_mm=true.spacing_mm)
    wrong = list(_wrong(level, truth, acquire(hu, THIN, 1)))
    assert {kind for kind, *_ in wrong} == kinds
    assert all(0 < size_mm < 5 for _, size_mm, *_ in wrong)


def test_the_cut_holds_the_axis_and_is_drawn(tmp_path: Path) -> None:
    axis = np.array([0.6, 0.0, 0.8])
    plane = _plane(np.full(3, 12.0), axis)
    down = plane[1, 0] - plane[0, 0]
    assert down / np.linalg.norm(down) == pytest.approx(axis)
    assert abs(float(down @ (plane[0, 1] - plane[0, 0]))) < 1e-9
    picture = np.zeros(plane.shape[:2])
    draw([Failure(kind="plate lost", protocol="thin", size_mm=0.4, pictures=(picture,) * 3)], tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 1000
