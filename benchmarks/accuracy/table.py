"""The results as Markdown: targets first, then one table per suite and protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from benchmarks.accuracy.measures import failed_gates
from benchmarks.accuracy.suites import ANATOMY, CHART, COMPOSITE
from benchmarks.accuracy.tally import Row, Rows, lead

COLUMNS = (
    ("h", "H", 3),
    ("continuity", "C 0.3-1 mm", 3),
    ("patency", "P 0.8-1.5 mm", 3),
    ("thin_recall", "thin recall", 3),
    ("gap_recall", "gap recall", 3),
    ("nsd_250um", "NSD 0.25", 3),
    ("nsd_500um", "NSD 0.5", 3),
    ("nsd_1mm", "NSD 1", 3),
    ("assd_mm", "ASSD mm", 3),
    ("hd95_mm", "HD95 mm", 2),
    ("thickness_ratio", "thickness ratio 0.5 mm", 2),
    ("far_false_bone", "far false bone %", 2),
    ("holes_closed", "true holes 0.5-3 mm closed %", 0),
    ("wide_holes_closed", "of 1 mm or more %", 0),
    ("seconds", "s", 2),
)
PERCENT = {"far_false_bone", "holes_closed", "wide_holes_closed"}
WITH_INTERVAL = {"h", "continuity", "patency"}

EXPLANATION = (
    "On simulated scans with known truth; not a measure of clinical accuracy. C: share of rays along the "
    "true normal of plates of 0.3-1 mm that meet bone within max(0.3 mm, half a voxel). P: share of canals "
    "of 0.8-1.5 mm through which a ball of half their calibre passes inside the true lumen. H = 2CP/(C+P). "
    "NSD and ASSD: surface distances both ways; HD95: their 95th percentile. "
    "Far false bone: share of the cells more than 0.6 mm from true bone that are called bone. "
    "In brackets: 95 % interval, bootstrap over test objects. An x: H doesn't count, because more than 1 % of the "
    "far cells become bone (far), plates of 0.5 mm get more than 1.5 times as thick or less than 0.8 (thick, thin), or "
    "more than 10 % of the true holes of 1 mm and more are closed (closed; a hole is open if anything passes). "
    '"2x": HU interpolated (cubic) to half the spacing first. '
    '"sbnode" is the fine field that the surface comes from, "sbnode, SEG on the slices" the mask on the scan\'s '
    "own voxels. "
    '"best fixed per scan" is chosen with the truth of each scan in hand (highest Dice). "adaptive threshold on HU" '
    'and "network at 0.5" are what the two parts of sbnode give alone.'
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is aimed at: a figure of one suite in the three protocols, and whether more is better."""

    title: str
    suite: str
    figure: str
    aims: tuple[float, float, float]
    more: bool

    def met(self, value: float, aim: float) -> bool:
        """Whether a value reaches the aim; a thickness ratio may lie as far from one on either side."""
        if self.figure == "thickness_ratio":
            return abs(value - 1.0) <= aim
        return value >= aim if self.more else value <= aim


PROTOCOL_NAMES = ("thin", "standard", "sharp")
TARGETS = (
    Target(title="continuity 0.3-1 mm", suite=CHART, figure="continuity", aims=(0.99, 0.97, 0.97), more=True),
    Target(title="patency 0.8-1.5 mm", suite=CHART, figure="patency", aims=(0.97, 0.85, 0.90), more=True),
    Target(title="continuity 0.3-1 mm", suite=COMPOSITE, figure="continuity", aims=(0.99, 0.97, 0.97), more=True),
    Target(title="patency 0.8-1.5 mm", suite=COMPOSITE, figure="patency", aims=(0.97, 0.85, 0.90), more=True),
    Target(title="thin recall", suite=COMPOSITE, figure="thin_recall", aims=(0.98, 0.96, 0.96), more=True),
    Target(title="narrow-gap recall", suite=COMPOSITE, figure="gap_recall", aims=(0.88, 0.80, 0.85), more=True),
    Target(title="NSD at 0.5 mm", suite=COMPOSITE, figure="nsd_500um", aims=(0.985, 0.975, 0.975), more=True),
    Target(title="far false bone", suite=COMPOSITE, figure="far_false_bone", aims=(0.005, 0.01, 0.01), more=False),
    Target(
        title="thickness ratio at 0.5 mm, distance from 1",
        suite=COMPOSITE,
        figure="thickness_ratio",
        aims=(0.2, 0.35, 0.3),
        more=False,
    ),
    Target(
        title="true holes of 1 mm or more closed",
        suite=COMPOSITE,
        figure="wide_holes_closed",
        aims=(0.1, 0.1, 0.1),
        more=False,
    ),
    Target(title="ASSD, mm", suite=ANATOMY, figure="assd_mm", aims=(0.12, 0.20, 0.15), more=False),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The circumstances of a run, its rows, and lines of the suites that have tables of their own."""

    date: str
    machine: str
    model: str
    objects: int
    seed: int
    rows: Rows
    others: dict[str, list[str]] = field(default_factory=dict)

    @property
    def circumstances(self) -> str:
        """One line."""
        return f"{self.date} · {self.machine} · {self.model} · {self.objects} test objects, first seed {self.seed}"


def markdown(run: Run) -> str:
    """The whole report."""
    parts = ["# Accuracy", "", EXPLANATION, "", run.circumstances, "", "## Targets", "", *targets(run.rows)]
    parts += ["", "## Lead over the best baseline", "", *leads(run.rows)]
    if ANATOMY not in run.rows:
        parts += ["", f"{ANATOMY} is missing: its bone meshes were not found below SBNODE_DATA."]
    for title, lines in run.others.items():
        parts += ["", f"## {title}", "", *lines]
    for suite, protocols in run.rows.items():
        parts += ["", f"## {suite}", "", f"![curves of {suite}]({picture(suite)})"]
        for label, methods in protocols.items():
            parts += ["", f"### {label}", "", *table(methods)]
    return "\n".join(parts) + "\n"


def picture(suite: str) -> str:
    """File name of a suite's curves."""
    return f"{suite.replace(' ', '-').lower()}.svg"


def targets(rows: Rows) -> list[str]:
    """What is aimed at beside what was measured; a miss is printed bold."""
    lines = ["| suite | figure | " + " | ".join(PROTOCOL_NAMES) + " |", "|---|---|" + "---|" * len(PROTOCOL_NAMES)]
    for target in TARGETS:
        protocols = rows.get(target.suite, {})
        cells = []
        for name, aim in zip(PROTOCOL_NAMES, target.aims, strict=True):
            methods = next((found for label, found in protocols.items() if label.startswith(f"{name}:")), None)
            value = methods["sbnode"].figures[target.figure] if methods else math.nan
            sign = "±" if target.figure == "thickness_ratio" else ("≥" if target.more else "≤")
            shown = "-" if math.isnan(value) else f"{value:.3f}"
            mark = "" if math.isnan(value) or target.met(value, aim) else "**"
            cells.append(f"{mark}{shown}{mark} ({sign} {aim:g})")
        lines.append(f"| {target.suite} | {target.title} | " + " | ".join(cells) + " |")
    return lines


OURS = ("sbnode", "sbnode, SEG on the slices", "network at 0.5")


def leads(rows: Rows) -> list[str]:
    """H of sbnode minus that of the baseline that comes next, and how sure that is."""
    lines = ["| suite | protocol | best baseline | its H | lead (95 %, paired) |", "|---|---|---|---|---|"]
    for suite, protocols in rows.items():
        for label, methods in protocols.items():
            others = {name: row for name, row in methods.items() if name not in OURS and not _gates(row)}
            known = {name: row for name, row in others.items() if not math.isnan(row.figures["h"])}
            if known:
                best = max(known, key=lambda name: known[name].figures["h"])
                ahead, low, high = lead(methods["sbnode"], known[best])
                shown = f"{ahead:+.3f} ({low:+.2f} to {high:+.2f})"
                lines.append(f"| {suite} | {label.split(':')[0]} | {best} | {known[best].figures['h']:.3f} | {shown} |")
    return lines


def _gates(row: Row) -> str:
    return ", ".join(failed_gates(row.figures))


def table(methods: dict[str, Row]) -> list[str]:
    """Lines of one Markdown table."""
    head = "| method | " + " | ".join(title for _, title, _ in COLUMNS) + " |"
    rule = "|---|" + "---|" * len(COLUMNS)
    lines = []
    for name, row in methods.items():
        cells = [_cell(key, row, digits) for key, _, digits in COLUMNS]
        shown = f"**{name}**" if name == "sbnode" else name
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return [head, rule, *lines]


def _cell(key: str, row: Row, digits: int) -> str:
    value = row.figures[key]
    if math.isnan(value):
        return "-"
    shown = f"{100 * value if key in PERCENT else value:.{digits}f}"
    if key in WITH_INTERVAL:
        shown += f" ({row.low[key]:.2f}-{row.high[key]:.2f})"
    if key == "h" and _gates(row):
        shown = f"x {shown} {_gates(row)}"
    return shown


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 5)


def as_json(rows: Rows) -> dict[str, Any]:
    """The figures and their intervals, without the curves."""
    return {
        suite: {
            label: {
                name: {
                    key: [_known(value), _known(row.low.get(key)), _known(row.high.get(key))]
                    for key, value in row.figures.items()
                }
                for name, row in methods.items()
            }
            for label, methods in protocols.items()
        }
        for suite, protocols in rows.items()
    }
