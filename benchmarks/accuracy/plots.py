"""Curves: how many plates are found over their thickness, how many canals are open over their diameter."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.accuracy.tally import Row

SHOWN = {
    "sbnode": ("#0b5394", "-"),
    "sbnode, SEG on the slices": ("#0b5394", ":"),
    "network at 0.5": ("#999999", "-"),
    "local half-maximum 2x": ("#b45f06", "-"),
    "Sauvola 2x": ("#38761d", "-"),
    "fixed 226 HU 2x": ("#cc0000", "--"),
    "fixed 500 HU 2x": ("#cc0000", ":"),
}


def draw(protocols: dict[str, dict[str, Row]], path: Path) -> None:
    """One row of two panels per protocol, as SVG."""
    figure, axes = pyplot.subplots(len(protocols), 2, figsize=(10, 3.2 * len(protocols)), squeeze=False)
    for (label, methods), (left, right) in zip(protocols.items(), axes, strict=True):
        for name, (colour, line) in SHOWN.items():
            row = methods[name]
            left.plot(
                list(row.by_thickness), list(row.by_thickness.values()), line, color=colour, label=name, marker="."
            )
            right.plot(list(row.by_calibre), list(row.by_calibre.values()), line, color=colour, label=name, marker=".")
        left.set(title=label.split(":")[0], xlabel="thickness of the plate, mm", ylabel="rays that meet bone")
        right.set(title=label.split(":")[0], xlabel="diameter of the canal, mm", ylabel="canals that are open")
        for panel in (left, right):
            panel.set(ylim=(-0.03, 1.03))
            panel.grid(alpha=0.3)
    axes[0, 1].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyplot.rc_context({"svg.hashsalt": "sbnode"}):  # else its ids are random
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
