"""What was counted, object by object, and the figures and intervals that follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import numpy as np

from benchmarks.accuracy.measures import CANAL_BINS_MM, PLATE_BINS_MM, Counts, rates

RESAMPLES = 400
INTERVAL = (0.025, 0.975)

Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One method on one scan of one object."""

    suite: str
    protocol: str
    method: str
    counts: Counts
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one method in one suite and protocol, with the bounds of their 95 % intervals."""

    figures: Figures
    low: Figures
    high: Figures
    by_thickness: dict[float, float] = field(default_factory=dict)
    by_calibre: dict[float, float] = field(default_factory=dict)


Rows = dict[str, dict[str, dict[str, Row]]]
"""{suite: {protocol: {method: row}}}"""


def rows(scores: Iterable[Score]) -> Rows:
    """Add up the scores of each suite, protocol and method."""
    grouped: dict[str, dict[str, dict[str, list[Score]]]] = {}
    for score in scores:
        grouped.setdefault(score.suite, {}).setdefault(score.protocol, {}).setdefault(score.method, []).append(score)
    return {
        suite: {
            protocol: {method: _row(found) for method, found in methods.items()}
            for protocol, methods in protocols.items()
        }
        for suite, protocols in grouped.items()
    }


def _row(scores: list[Score]) -> Row:
    counts = [score.counts for score in scores]
    whole = reduce(add, counts)
    low, high = _intervals(counts)
    return Row(
        figures={**rates(whole), "seconds": sum(score.seconds for score in scores) / len(scores)},
        low=low,
        high=high,
        by_thickness=_curve(PLATE_BINS_MM, whole.by_thickness),
        by_calibre=_curve(CANAL_BINS_MM, whole.by_calibre),
    )


def _intervals(counts: list[Counts]) -> tuple[Figures, Figures]:
    """Percentile bootstrap over test objects (Efron, 1979): rays and canals of one object are not independent."""
    random = np.random.default_rng(0)
    table = np.array([[getattr(one, name) for name in _SUMS] for one in counts], dtype=np.float64)
    drawn = table[random.integers(len(counts), size=(RESAMPLES, len(counts)))].sum(axis=1)
    figures = [rates(Counts(**dict(zip(_SUMS, line, strict=True)))) for line in drawn]
    bounds: list[Figures] = [{}, {}]
    for name in figures[0]:
        values = np.array([one[name] for one in figures])
        known = values[~np.isnan(values)]
        for bound, share in zip(bounds, INTERVAL, strict=True):
            bound[name] = float(np.quantile(known, share)) if known.size else float("nan")
    return bounds[0], bounds[1]


_SUMS = tuple(name for name in Counts.__dataclass_fields__ if not name.startswith("by_"))


def _curve(bins_mm: tuple[float, ...], cases: np.typing.NDArray[np.int64]) -> dict[float, float]:
    return {size: float(found / count) for size, (count, found) in zip(bins_mm, cases, strict=True) if count}
