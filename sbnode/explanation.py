"""What the node would do with a study and why, rule by rule and series by series; nothing is done.

The words hold values of the headers, so they are for the terminal of who has the files, not for logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sbnode.config import Config, Rule
from sbnode.errors import SeriesError
from sbnode.inference.selection import Choice, unusable
from sbnode.matching import shown
from sbnode.plan import Judged, Plan, judge, make_plan, receivers, settings_of
from sbnode.rules import Trial
from sbnode.series import Instance, Series, SeriesKey

__all__ = ["Explanation", "SeriesExplanation", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesExplanation:
    """What happens to one series: ``rules`` has a line for each rule of the configuration."""

    series: Series
    title: str
    rules: tuple[str, ...]
    chosen: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What happens to a study: ``outcome`` has lines on what would be made and sent.

    ``refusal`` is the error that the study would end with, or None.
    """

    series: tuple[SeriesExplanation, ...]
    outcome: tuple[str, ...]
    refusal: SeriesError | None


def explain(study: Sequence[Series], config: Config, calling_ae_title: str = "") -> Explanation:
    """Plan what would be done with ``study``, as the node would, up to where a network is needed.

    Args:
        study: the series of one study.
        config: the configuration.
        calling_ae_title: of the sender; else what the files name as their source.

    Raises:
        SpoolError: a header can't be read.
    """
    judged = judge(study, config.rules, calling_ae_title)
    try:
        plan = make_plan(judged, config)
    except SeriesError as error:
        taken = [one.series for one in judged if one.decision.take]
        reasons = dict(unusable(taken, config.selection))
        return Explanation(series=_explained(judged, config, reasons, None), outcome=(), refusal=error)
    series = _explained(judged, config, dict(plan.choice.left_out), plan.choice)
    return Explanation(series=series, outcome=tuple(_outcome(plan, config)), refusal=None)


def _explained(
    judged: Sequence[Judged], config: Config, reasons: dict[SeriesKey, str], choice: Choice | None
) -> tuple[SeriesExplanation, ...]:
    chosen = None if choice is None else choice.chosen.key
    if choice is not None:
        reasons = {**reasons, choice.chosen.key: choice.why}
    return tuple(
        SeriesExplanation(
            series=one.series,
            title=_title(one.series.first, len(one.series.instances)),
            rules=tuple(_rule_line(rule, one.trials) for rule in config.rules),
            chosen=one.series.key == chosen,
            why=reasons[one.series.key] if one.decision.take else f"left alone by rule {one.decision.rule}",
        )
        for one in judged
    )


def _title(first: Instance, instances: int) -> str:
    number = "without number" if first.series_number is None else str(first.series_number)
    return f"series {number}: {first.modality} '{first.series_description}', {instances} instances"


def _rule_line(rule: Rule, trials: Sequence[Trial]) -> str:
    trial = next((trial for trial in trials if trial.rule is rule), None)
    if trial is None:
        return f"rule {rule.name} is not tried: an earlier one fits"
    if trial.miss is None:
        return f"rule {rule.name} fits"
    miss = trial.miss
    found = " and ".join(map(shown, miss.found)) or "missing or empty"
    return f"rule {rule.name} doesn't fit: {miss.keyword} is {found}; wanted: {miss.wanted}"


def _outcome(plan: Plan, config: Config) -> Iterator[str]:
    decision = plan.decision
    by = f"by rule {decision.rule}" if decision.rule else "no rule fits"
    yield f"priority {decision.priority}, region {settings_of(decision, config).region} ({by})"
    if decision.priority == "low" and config.queue.low_priority_hours is not None:
        yield f"begins within {config.queue.low_priority_hours} (queue.low_priority_hours)"
    for destination in receivers(decision, config):
        yield f"to {destination.name}: {', '.join(destination.objects)}"
    if not receivers(decision, config):
        yield "to no destination: the results stay in the spool"
    elif config.shadow:
        yield "held back until they are released: shadow mode is on"
