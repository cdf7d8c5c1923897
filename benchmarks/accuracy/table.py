"""The results as Markdown and JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass

COLUMNS = (
    ("h", "H", 3),
    ("continuity", "C 0.3-1 mm", 3),
    ("patency", "P 0.8-1.5 mm", 3),
    ("thin_recall", "thin recall", 3),
    ("gap_recall", "gap recall", 3),
    ("nsd_250um", "NSD 0.25", 3),
    ("nsd_500um", "NSD 0.5", 3),
    ("assd_mm", "ASSD mm", 3),
    ("thickness_ratio", "thickness ratio 0.5 mm", 2),
    ("far_false_bone", "far false bone %", 2),
    ("holes_closed", "true holes 0.5-3 mm closed %", 0),
    ("wide_holes_closed", "of 1 mm or more %", 0),
    ("seconds", "s", 2),
)
PERCENT = {"far_false_bone", "holes_closed", "wide_holes_closed"}

EXPLANATION = (
    "On simulated scans with known truth; not a measure of clinical accuracy. C: share of rays along the "
    "true normal of plates of 0.3-1 mm that meet bone within max(0.3 mm, half a voxel). P: share of canals "
    "of 0.8-1.5 mm through which a ball of half their calibre passes inside the true lumen. H = 2CP/(C+P). "
    "Far false bone: share of the cells more than 0.6 mm from true bone that are called bone. "
    '"2x": HU interpolated (cubic) to half the spacing first. '
    '"sbnode" is the fine field that the surface comes from, "sbnode, SEG on the slices" the mask on the scan\'s '
    "own voxels. "
    '"best fixed per scan" is chosen with the truth of each scan in hand (highest Dice).'
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The circumstances of a run, and its rows: {protocol label: {method: figures}}."""

    date: str
    machine: str
    model: str
    objects: int
    seed: int
    rows: dict[str, dict[str, dict[str, float]]]


def markdown(run: Run) -> str:
    """The whole report."""
    parts = [
        "# Accuracy",
        "",
        EXPLANATION,
        "",
        f"{run.date} · {run.machine} · {run.model} · {run.objects} test objects per acquisition, seed {run.seed}",
    ]
    for label, methods in run.rows.items():
        parts += ["", f"## {label}", "", *table(methods)]
    return "\n".join(parts) + "\n"


def table(methods: dict[str, dict[str, float]]) -> list[str]:
    """Lines of one Markdown table."""
    head = "| method | " + " | ".join(title for _, title, _ in COLUMNS) + " |"
    rule = "|---|" + "---|" * len(COLUMNS)
    rows = []
    for name, figures in methods.items():
        cells = [_cell(key, figures[key], digits) for key, _, digits in COLUMNS]
        shown = f"**{name}**" if name == "sbnode" else name
        rows.append(f"| {shown} | " + " | ".join(cells) + " |")
    return [head, rule, *rows]


def _cell(key: str, value: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value if key in PERCENT else value:.{digits}f}"
