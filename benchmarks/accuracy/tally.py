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
    kind: str
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
    h_drawn: tuple[float, ...] = ()
    """H in each resample: the same objects are drawn for every method."""


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
    whole = reduce(add, [score.counts for score in scores])
    drawn = _resampled(scores)
    low, high = (_quantiles(drawn, share) for share in INTERVAL)
    return Row(
        figures={**rates(whole), "seconds": sum(score.seconds for score in scores) / len(scores)},
        low=low,
        high=high,
        by_thickness=_curve(PLATE_BINS_MM, whole.by_thickness),
        by_calibre=_curve(CANAL_BINS_MM, whole.by_calibre),
        h_drawn=tuple(figures["h"] for figures in drawn),
    )


def lead(row: Row, other: Row) -> tuple[float, float, float]:
    """How much higher one method's H is than another's, and the bounds of the paired 95 % interval."""
    difference = np.array(row.h_drawn) - np.array(other.h_drawn)
    low, high = (float(np.nanquantile(difference, share)) for share in INTERVAL)
    return row.figures["h"] - other.figures["h"], low, high


def _resampled(scores: list[Score]) -> list[Figures]:
    """Figures of resamples: test objects drawn with replacement within each kind (stratified bootstrap; Efron, 1979).

    Rays and canals of one object are not independent of each other, objects are.
    """
    random = np.random.default_rng(0)
    kinds = sorted({score.kind for score in scores})
    sums = np.zeros((RESAMPLES, len(_SUMS)))
    for kind in kinds:
        own = [score.counts for score in scores if score.kind == kind]
        table = np.array([[getattr(one, name) for name in _SUMS] for one in own], dtype=np.float64)
        sums += table[random.integers(len(own), size=(RESAMPLES, len(own)))].sum(axis=1)
    return [rates(Counts(**dict(zip(_SUMS, line, strict=True)))) for line in sums]


def _quantiles(drawn: list[Figures], share: float) -> Figures:
    bounds = {}
    for name in drawn[0]:
        values = np.array([figures[name] for figures in drawn])
        known = values[~np.isnan(values)]
        bounds[name] = float(np.quantile(known, share)) if known.size else float("nan")
    return bounds


_SUMS = tuple(name for name in Counts.__dataclass_fields__ if not name.startswith("by_"))


def _curve(bins_mm: tuple[float, ...], cases: np.typing.NDArray[np.int64]) -> dict[float, float]:
    return {size: float(found / count) for size, (count, found) in zip(bins_mm, cases, strict=True) if count}
