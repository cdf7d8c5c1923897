"""The model card takes the tables of a run between its marks, and refuses to guess where they go."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accuracy.card import END, START, write_card
from benchmarks.accuracy.measures import Counts
from benchmarks.accuracy.suites import CHART
from benchmarks.accuracy.table import Run, markdown
from benchmarks.accuracy.tally import Score, rows


def run() -> Run:
    counts = [
        Counts(rays=10, rays_hit=10, canals=4, canals_open=3),
        Counts(rays=10, rays_hit=8, canals=4, canals_open=3),
    ]
    scores = [
        Score(suite=CHART, protocol="thin: as it is", kind="plates", method=method, counts=one, seconds=0.5)
        for method in ("sbnode", "fixed 150 HU")
        for one in counts
    ]
    return Run(
        date="2026-01-01",
        machine="x86_64",
        model="skullbase",
        objects=6,
        seed=1,
        rows=rows(scores),
    )


def test_the_card_keeps_its_text_and_takes_the_table(tmp_path: Path) -> None:
    card = tmp_path / "MODEL_CARD.md"
    card.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    write_card(card, run())
    write_card(card, run())
    text = card.read_text(encoding="utf-8")
    assert text.startswith("before")
    assert text.rstrip().endswith("after")
    assert "old" not in text
    assert text.count("**sbnode** | 0.818 (0.77-0.86) | 0.900 (0.80-1.00) | 0.750 (0.75-0.75)") == 1
    assert "| fixed 150 HU | 0.818 (" not in text


def test_a_card_without_marks_is_refused(tmp_path: Path) -> None:
    card = tmp_path / "MODEL_CARD.md"
    card.write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        write_card(card, run())


def test_the_report_names_rates_without_a_case_with_a_dash() -> None:
    report = markdown(run())
    assert "| **sbnode** | 0.818 (" in report
    assert " - |" in report


def test_a_missed_target_stands_out() -> None:
    report = markdown(run())
    assert "| S1 chart | continuity 0.3-1 mm | **0.900** (≥ 0.99) | - (≥ 0.97) | - (≥ 0.97) |" in report
