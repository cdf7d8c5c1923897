"""What `sbnode explain` says is what the node does, with the reason of each series and rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sbnode.cli import app
from sbnode.errors import LeftAlone, NoUsableSeries
from sbnode.explanation import explain
from sbnode.plan import judge, make_plan
from tests.test_plan import study, with_rules

RULES: tuple[dict[str, object], ...] = (
    {"name": "thin", "when": {"SliceThickness": {"max": 0.5}}},
    {"name": "short", "when": {"SeriesInstanceUID": "1.2.3.2"}, "take": False},
    {"name": "all", "when": {"CallingAETitle": "MODALITY"}, "priority": "low", "destinations": ["d1"]},
    {"name": "rest"},
)


def test_every_series_and_rule_has_its_reason(tmp_path: Path) -> None:
    settings = with_rules(tmp_path, *RULES)
    settings = settings.model_copy(update={"queue": settings.queue.model_copy(update={"low_priority_hours": "1-2"})})
    series = study(tmp_path, 50, 45, 4)
    explained = explain(series, settings)
    assert explained.refusal is None
    assert [one.chosen for one in explained.series] == [True, False, False]
    assert explained.series[0].rules == (
        "rule thin doesn't fit: SliceThickness is 1; wanted: at most 0.5",
        "rule short doesn't fit: SeriesInstanceUID is '1.2.3.1'; wanted: '1.2.3.2'",
        "rule all fits",
        "rule rest is not tried: an earlier one fits",
    )
    assert explained.series[0].why == make_plan(judge(series, settings.rules), settings).choice.why
    assert explained.series[1].why == "left alone by rule short"
    assert "4 slices" in explained.series[2].why
    assert explained.outcome == (
        "priority low, region skull_base (by rule all)",
        "begins within 1-2 (queue.low_priority_hours)",
        "to d1: seg, stl",
    )


def test_shadow_mode_is_told(tmp_path: Path) -> None:
    settings = with_rules(tmp_path).model_copy(update={"shadow": True})
    explained = explain(study(tmp_path, 50), settings)
    assert explained.outcome[-1] == "held back until they are released: shadow mode is on"


def test_a_study_without_a_result_has_the_reason_of_each_series(tmp_path: Path) -> None:
    explained = explain(study(tmp_path, 4, 3), with_rules(tmp_path))
    assert isinstance(explained.refusal, NoUsableSeries)
    assert ["4 slices" in explained.series[0].why, "3 slices" in explained.series[1].why] == [True, True]
    assert explained.outcome == ()


def test_a_study_that_is_left_alone_says_so(tmp_path: Path) -> None:
    explained = explain(study(tmp_path, 50), with_rules(tmp_path, {"name": "none", "take": False}))
    assert isinstance(explained.refusal, LeftAlone)
    assert explained.series[0].why == "left alone by rule none"


def sbnode(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_the_command_explains_real_scans(shared_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    rules = [{"name": "er", "when": {"CallingAETitle": "CT_ER"}, "priority": "high"}]
    file.write_text(yaml.safe_dump({"rules": rules, "log": {"level": "error"}}))
    folder = shared_data / "philips-phantom-tilted"
    code, text = sbnode("explain", folder, "--config", file, "--from", "CT_ER")
    assert code == 0, text
    assert text.count("    chosen: ") == text.count("study ") - text.count("gives no result")
    assert "rule er fits" in text
    assert "priority high" in text
    assert "to no destination" in text
    code, text = sbnode("explain", shared_data / "refusals" / "slicecount", "--config", file)
    assert code == 3, text
    assert "gives no result" in text
    assert "rule er doesn't fit: CallingAETitle is" in text


@pytest.mark.parametrize("content", [None, "no DICOM"])
def test_a_folder_without_dicom_ends_with_3(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "file.txt").write_text(content)
    assert sbnode("explain", tmp_path)[0] == 3
