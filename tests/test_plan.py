"""A plan: rules first, then the best of what they let be taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from sbnode.config import Config
from sbnode.errors import LeftAlone, NoUsableSeries, SeveralPatients, SpoolError
from sbnode.plan import judge, make_plan, receivers, settings_of
from sbnode.rules import Decision
from sbnode.series import Series
from sbnode.spool import Spool
from tests.jobs.fakes import config, store_series
from tests.scp.instances import ct_slice, encoded


def study(folder: Path, *slices: int) -> tuple[Series, ...]:
    """A study of series that differ in their number of slices; sent by MODALITY."""
    spool = Spool(folder / "spool", 0)
    for number, count in enumerate(slices, start=1):
        store_series(spool, "1.2.3", f"1.2.3.{number}", count)
    return spool.series("1.2.3")


def with_rules(folder: Path, *rules: dict[str, object]) -> Config:
    content = config(folder, 104, 105).model_dump()
    return Config.model_validate({**content, "rules": rules})


def test_a_series_that_a_rule_leaves_alone_is_not_chosen(tmp_path: Path) -> None:
    series = study(tmp_path, 60, 50)
    settings = with_rules(tmp_path, {"name": "not-one", "when": {"SeriesInstanceUID": "1.2.3.1"}, "take": False})
    assert make_plan(judge(series, ()), settings).choice.chosen == series[0]
    plan = make_plan(judge(series, settings.rules), settings)
    assert plan.choice.chosen == series[1]
    assert plan.taken == (series[1],)


def test_what_is_decided_about_the_chosen_series_counts(tmp_path: Path) -> None:
    series = study(tmp_path, 50, 60)
    settings = with_rules(
        tmp_path,
        {"name": "one", "when": {"SeriesInstanceUID": "1.2.3.1"}, "priority": "low"},
        {"name": "two", "when": {"CallingAETitle": "MODALITY"}, "destinations": ["d1"], "region": "all_bone"},
    )
    plan = make_plan(judge(series, settings.rules), settings)
    assert plan.decision.rule == "two"
    assert [one.name for one in receivers(plan.decision, settings)] == ["d1"]
    assert settings_of(plan.decision, settings).region == "all_bone"


def test_without_a_decision_the_settings_of_the_node_hold_and_all_destinations_get_it(tmp_path: Path) -> None:
    settings = config(tmp_path, 104, 105)
    assert settings_of(Decision(), settings) is settings
    assert receivers(Decision(), settings) == settings.all_destinations


def test_the_sender_that_is_given_counts_more_than_the_one_in_the_file(tmp_path: Path) -> None:
    series = study(tmp_path, 50)
    settings = with_rules(tmp_path, {"name": "er", "when": {"CallingAETitle": "CT_ER"}})
    assert judge(series, settings.rules)[0].decision.rule is None
    assert judge(series, settings.rules, "CT_ER")[0].decision.rule == "er"


def test_a_study_that_rules_leave_alone_is_no_study_without_a_usable_series(tmp_path: Path) -> None:
    settings = with_rules(tmp_path, {"name": "nothing", "take": False})
    with pytest.raises(LeftAlone, match="nothing"):
        make_plan(judge(study(tmp_path, 50), settings.rules), settings)
    with pytest.raises(NoUsableSeries):
        make_plan((), settings)


def test_a_header_that_can_t_be_read_is_an_error_where_there_are_rules(tmp_path: Path) -> None:
    series = study(tmp_path, 50)
    series[0].first.path.write_bytes(b"no DICOM")
    assert judge(series, ())[0].decision == Decision()
    with pytest.raises(SpoolError, match="Send it again"):
        judge(series, with_rules(tmp_path, {"name": "any"}).rules)


def test_a_second_patient_is_found_also_in_a_series_that_is_left_alone(tmp_path: Path) -> None:
    study(tmp_path, 50)
    spool = Spool(tmp_path / "spool", 0)
    other = ct_slice(1, study="1.2.3", series="1.2.3.2")
    other.PatientID = "ANOTHER"
    spool.store(CTImageStorage, other.SOPInstanceUID, ExplicitVRLittleEndian, "MODALITY", encoded(other))
    settings = with_rules(tmp_path, {"name": "not-two", "when": {"SeriesInstanceUID": "1.2.3.2"}, "take": False})
    with pytest.raises(SeveralPatients):
        make_plan(judge(spool.series("1.2.3"), settings.rules), settings)
