"""What is to be done with a study: the rules say which series may be taken, their slices which of these is the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sbnode.config import Config, Destination, Rule, WebDestination
from sbnode.errors import LeftAlone, SpoolError
from sbnode.inference.selection import Choice, choose, require_one_patient
from sbnode.rules import Decision, Trial, decide
from sbnode.series import Series, read_file

__all__ = ["Judged", "Plan", "judge", "make_plan", "receivers", "settings_of"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A series with what the rules decide about it, and the rules that were tried."""

    series: Series
    decision: Decision
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The series that may be taken, which of them is chosen, and what is decided about that one."""

    taken: tuple[Series, ...]
    choice: Choice
    decision: Decision


def judge(study: Iterable[Series], rules: Sequence[Rule], calling_ae_title: str = "") -> tuple[Judged, ...]:
    """Return what ``rules`` decide about each series, by the header of its first instance.

    Args:
        study: the series of one study.
        rules: of the configuration. Without one no header is read.
        calling_ae_title: of the sender; else it is what the file names as its source (PS3.10 section 7.1).

    Raises:
        SpoolError: a header can't be read.
    """
    return tuple(_judge(series, rules, calling_ae_title) if rules else Judged(series, Decision()) for series in study)


def _judge(series: Series, rules: Sequence[Rule], calling_ae_title: str) -> Judged:
    try:
        header = read_file(series.first.path)
    except ValueError as error:
        raise SpoolError(f"{series.first.path.name} can't be read, so no rule can be tried. Send it again.") from error
    sender = calling_ae_title or str(header.file_meta.get("SourceApplicationEntityTitle") or "")
    return Judged(series, *decide(header, rules, sender))


def make_plan(judged: Sequence[Judged], config: Config) -> Plan:
    """Choose among the series that the rules let be taken; what is decided about the chosen one counts.

    Raises:
        LeftAlone: the rules leave every series alone.
        SeveralPatients: the images of the study, of series that are left alone too, name more than one patient.
        NoUsableSeries: no series that may be taken can be used.
    """
    taken = {one.series.key: one for one in judged if one.decision.take}
    if judged and not taken:
        rules = sorted({one.decision.rule or "" for one in judged})
        raise LeftAlone(f"every series is left alone by a rule: {', '.join(rules)}")
    require_one_patient(one.series for one in judged)
    choice = choose([one.series for one in taken.values()], config.selection)
    return Plan(tuple(one.series for one in taken.values()), choice, taken[choice.chosen.key].decision)


def settings_of(decision: Decision, config: Config) -> Config:
    """Return ``config`` as it is for what ``decision`` is about."""
    return config if decision.region is None else config.model_copy(update={"region": decision.region})


def receivers(decision: Decision, config: Config) -> tuple[Destination | WebDestination, ...]:
    """Return the destinations that get the results."""
    wanted = decision.destinations
    return tuple(one for one in config.all_destinations if wanted is None or one.name in wanted)
