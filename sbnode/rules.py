"""The rules of the configuration, and what they decide about a series. Pure: a header in, a decision out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from sbnode.config import Priority, Region, Rule
from sbnode.matching import Value, values_of
from sbnode.series import PARSER_FAULTS

__all__ = ["Decision", "Miss", "Trial", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is done with a series. Without a rule that fits it is what it is without rules."""

    rule: str | None = None
    """Name of the rule that fits; None: none does."""
    take: bool = True
    priority: Priority = "normal"
    destinations: tuple[str, ...] | None = None
    """Names of the destinations; None: all."""
    region: Region | None = None
    """None: the node's."""


@dataclass(frozen=True, slots=True)
class Miss:
    """The first attribute that doesn't fit. ``found`` are values of the header: they may be patient data."""

    keyword: str
    found: tuple[Value, ...]
    wanted: str
    """In words."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One rule that was tried: it fits when there is no ``miss``."""

    rule: Rule
    miss: Miss | None


def decide(header: Dataset, rules: Iterable[Rule], calling_ae_title: str) -> tuple[Decision, tuple[Trial, ...]]:
    """Return what the first rule that fits says, and every rule that was tried up to there.

    Args:
        header: of the first instance of a series; needs no pixels.
        rules: in the order of the configuration.
        calling_ae_title: of the sender; empty where it isn't known.
    """
    trials: list[Trial] = []
    for rule in rules:
        trials.append(Trial(rule, _miss(header, rule, calling_ae_title)))
        if trials[-1].miss is None:
            return _decision(rule), tuple(trials)
    return Decision(), tuple(trials)


def _miss(header: Dataset, rule: Rule, calling_ae_title: str) -> Miss | None:
    for keyword, matcher in rule.when.items():
        found = _values(header, keyword, calling_ae_title)
        wanted = matcher.failed(found)
        if wanted is not None:
            return Miss(keyword, found, wanted)
    return None


def _values(header: Dataset, keyword: str, calling_ae_title: str) -> tuple[Value, ...]:
    """As ``values_of``; an element that pydicom can't read has no values."""
    try:
        return values_of(header, keyword, calling_ae_title)
    except PARSER_FAULTS:
        return ()


def _decision(rule: Rule) -> Decision:
    return Decision(
        rule=rule.name,
        take=rule.take,
        priority=rule.priority,
        destinations=rule.destinations,
        region=rule.region,
    )
