"""The figures of a comparison as tables of text, and a sentence on each study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sbnode.comparison.case import Agreement, Case, Refusal
from sbnode.comparison.comparison import Comparison
from sbnode.inference.bone import Finding
from sbnode.results.report import Report

__all__ = ["Table", "overview", "sentence", "tables", "what_differs"]

NONE = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings. The first column of each row names it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def overview(comparison: Comparison) -> Table:
    """One row for each study."""
    headings = (
        "study",
        "bone A, mL",
        "bone B, mL",
        "B − A",
        "Dice",
        "mean distance, mm",
        "95 %, mm",
        "longest, mm",
        "time A, s",
        "time B, s",
    )
    return Table("Studies", headings, tuple(_line(case) for case in comparison.cases))


def _line(case: Case) -> tuple[str, ...]:
    a, b = case.a, case.b
    volumes = tuple(NONE if isinstance(one, Refusal) else f"{one.volume_ml:.1f}" for one in (a, b))
    times = tuple(NONE if isinstance(one, Refusal) else f"{_time_s(one):.0f}" for one in (a, b))
    change = NONE if isinstance(a, Refusal) or isinstance(b, Refusal) else _change(a.volume_ml, b.volume_ml)
    return (case.label, *volumes, change, *_agreed(case.agreement), *times)


def _agreed(agreement: Agreement | None) -> tuple[str, str, str, str]:
    if agreement is None:
        return NONE, NONE, NONE, NONE
    dice, distance = f"{agreement.overlap.dice:.4f}", agreement.distance
    if distance is None:
        return dice, NONE, NONE, NONE
    return dice, f"{distance.mean_mm:.3f}", f"{distance.p95_mm:.2f}", f"{distance.longest_mm:.1f}"


def _time_s(report: Report) -> float:
    return sum(report.seconds.values())


def _change(a: float, b: float) -> str:
    if abs(b - a) < 0.05:
        return "0"
    share = f" ({(b - a) / a:+.1%})" if a else ""
    return f"{b - a:+.1f}{share}".replace("-", "−")


def sentence(case: Case) -> str:
    """Say in words how the two differ."""
    if case.agreement is None:
        given = [f"{name} gives no result: {one.reason}" for name, one in _sides(case) if isinstance(one, Refusal)]
        return ". ".join((*given, *([case.apart] if case.apart else [])))
    overlap, distance = case.agreement.overlap, case.agreement.distance
    if distance is None:
        return "One of them found no bone, so that there is no distance."
    if distance.longest_mm == 0 and overlap.dice == 1:
        return "A and B give the same bone, cell by cell."
    return (
        f"{overlap.only_a_ml:.2f} mL are bone in A alone, {overlap.only_b_ml:.2f} mL in B alone. "
        f"The surfaces are {distance.mean_mm:.2f} mm apart on average and within {distance.p95_mm:.2f} mm "
        f"for 95 % of each; the longest distance is {distance.longest_mm:.1f} mm."
    )


def _sides(case: Case) -> tuple[tuple[str, Report | Refusal], ...]:
    return ("A", case.a), ("B", case.b)


def what_differs(comparison: Comparison) -> tuple[Table, ...]:
    """The models, and the settings that differ."""
    named = zip(("occupancy", "region"), *comparison.models, strict=True)
    models = tuple(
        (use, *(f"{one.name} {one.version} ({one.sha256[:12]})" for one in (a, b)), "same" if a == b else "differs")
        for use, a, b in named
    )
    settings = tuple((one.key, one.a, one.b) for one in comparison.settings)
    return (
        Table("Models", ("", "A", "B", ""), models),
        Table("Settings that differ", ("key", "A", "B"), settings or (("none", "", ""),)),
    )


def tables(case: Case) -> Iterator[Table]:
    """Yield what A and B say of one study, side by side. Only for studies of which both give a result."""
    a, b = case.a, case.b
    if isinstance(a, Refusal) or isinstance(b, Refusal):
        return
    yield Table("Measurements", ("", "A", "B", "B − A"), tuple(_measurements(a, b, case.agreement)))
    if case.agreement is not None and case.agreement.distance is not None:
        distance = case.agreement.distance
        rows = tuple(
            (name, f"{one.mean_mm:.3f}", f"{one.p95_mm:.2f}", f"{one.longest_mm:.1f}")
            for name, one in (("from A to B", distance.a_to_b), ("from B to A", distance.b_to_a))
        )
        yield Table("Surface distance, mm", ("", "mean", "95 %", "longest"), rows)
    bones = _paired(
        {(one.name, one.side): one.volume_ml for one in a.bones},
        {(one.name, one.side): one.volume_ml for one in b.bones},
    )
    if bones:
        yield Table("Named bones, mL", ("", "A", "B", "B − A"), bones)
    openings = _paired(
        {(one.name, one.side): one.calibre_mm or 0.0 for one in a.foramina},
        {(one.name, one.side): one.calibre_mm or 0.0 for one in b.foramina},
    )
    if openings:
        yield Table("Openings found, calibre in mm", ("", "A", "B", "B − A"), openings)
    remarks = tuple(_remarks((*a.findings, *a.flags), (*b.findings, *b.flags)))
    if remarks:
        yield Table("Findings and flags", ("", "A", "B"), remarks)
    stages = dict.fromkeys((*a.seconds, *b.seconds))
    times = [(stage, f"{a.seconds.get(stage, 0):.1f}", f"{b.seconds.get(stage, 0):.1f}") for stage in stages]
    yield Table("Time, s", ("", "A", "B"), (*times, ("all", f"{_time_s(a):.1f}", f"{_time_s(b):.1f}")))


def _measurements(a: Report, b: Report, agreement: Agreement | None) -> Iterator[tuple[str, ...]]:
    for name, in_a, in_b in (
        ("bone, mL", a.volume_ml, b.volume_ml),
        ("of it inferred thin bone, mL", a.volume_ml * a.inferred_share, b.volume_ml * b.inferred_share),
    ):
        yield name, f"{in_a:.1f}", f"{in_b:.1f}", _change(in_a, in_b)
    if a.series_instance_uid != b.series_instance_uid:
        yield "series", a.why, b.why, "another series was chosen"
    if agreement is None:
        return
    first, second = agreement.topology
    for name, one, other in (
        ("pieces", first.pieces, second.pieces),
        ("tunnels: openings, canals and holes", first.tunnels, second.tunnels),
        ("closed cavities", first.cavities, second.cavities),
    ):
        yield name, str(one), str(other), f"{other - one:+d}".replace("-", "−") if other != one else "0"
    yield "share of the largest piece", f"{first.largest:.2%}", f"{second.largest:.2%}", ""


def _paired(a: dict[tuple[str, str], float], b: dict[tuple[str, str], float]) -> tuple[tuple[str, ...], ...]:
    """Rows of what is found in A or in B, by name and side."""
    rows = []
    for key in dict.fromkeys((*a, *b)):
        values = a.get(key), b.get(key)
        shown = [("not found" if value is None else f"{value:.1f}" if value else "not resolvable") for value in values]
        change = _change(*values) if values[0] and values[1] else ""  # type: ignore[arg-type]
        rows.append((" ".join(part for part in (key[1], key[0]) if part), *shown, change))
    return tuple(rows)


def _remarks(a: Sequence[Finding], b: Sequence[Finding]) -> Iterator[tuple[str, ...]]:
    for code in dict.fromkeys(one.code for one in (*a, *b)):
        yield code, _messages(a, code), _messages(b, code)


def _messages(found: Iterable[Finding], code: str) -> str:
    return "; ".join(one.message for one in found if one.code == code) or NONE
