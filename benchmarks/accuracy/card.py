"""The results in the model card: the tables between two marks are replaced, the rest is left alone."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accuracy.table import Run, leads, table, targets

START = "<!-- results: written by benchmarks.accuracy -->"
END = "<!-- end of results -->"

SHOWN = (
    "fixed 226 HU 2x",
    "fixed 500 HU 2x",
    "best fixed per scan 2x",
    "Sauvola 2x",
    "local half-maximum 2x",
    "adaptive threshold on HU",
    "network at 0.5",
    "sbnode",
    "sbnode, SEG on the slices",
)
"""Rows that fit a card; the full table is in the report."""


def write_card(path: Path, run: Run) -> None:
    """Put the short tables of a run into a model card.

    Raises:
        ValueError: the card lacks the two marks.
    """
    card = path.read_text(encoding="utf-8")
    before, found, rest = card.partition(START)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{path}: the marks {START} and {END} are missing")
    lines = [f"{run.circumstances}.", "", *targets(run.rows), "", *leads(run.rows)]
    for suite, protocols in run.rows.items():
        for label, methods in protocols.items():
            short = {name: methods[name] for name in SHOWN if name in methods}
            lines += ["", f"**{suite}, {label}**", "", *table(short)]
    body = "\n".join(lines)
    path.write_text(f"{before}{START}\n\n{body}\n\n{END}{after}", encoding="utf-8")
