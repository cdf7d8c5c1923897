"""Two configurations on a small study, with networks whose answer is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sbnode.comparison import Agreement, Case, Comparison, Refusal, compare, write
from sbnode.comparison.tables import overview, sentence, tables
from sbnode.config import Config, Model, Rule
from sbnode.results.report import Report
from sbnode.series import Series
from tests.comparison.conftest import NAME
from tests.test_pipeline import CONFIG

MADE_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WHOLE = CONFIG.model_copy(update={"region": "all_bone"})
BLIND = CONFIG.model_copy(update={"model": Model(region=Path("blind"))})

Maker = Callable[..., Series]

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def study(series: Maker) -> list[Series]:
    return [series(PatientID="CANARY-ID", StudyDescription="CANARY STUDY")]


@pytest.fixture(scope="module")
def half_and_whole(study: list[Series], models: None, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compared(study, CONFIG, WHOLE, tmp_path_factory.mktemp("half-and-whole"))


@pytest.fixture(scope="module")
def blind(study: list[Series], models: None, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compared(study, CONFIG, BLIND, tmp_path_factory.mktemp("blind"))


def compared(study: list[Series], a: Config, b: Config, folder: Path) -> Comparison:
    folder.mkdir(exist_ok=True)
    return compare({"study-1": study}, a, b, folder, made_at=MADE_AT)


def only(comparison: Comparison) -> Case:
    (case,) = comparison.cases
    return case


def agreement(comparison: Comparison) -> Agreement:
    found = only(comparison).agreement
    assert found is not None
    return found


def volume_ml(side: Report | Refusal) -> float:
    assert isinstance(side, Report)
    return side.volume_ml


def test_the_same_configuration_differs_nowhere(study: list[Series], tmp_path: Path) -> None:
    found = compared(study, CONFIG, CONFIG, tmp_path / "out")
    case = only(found)
    assert found.settings == ()
    assert case.agreement is not None
    assert case.agreement.distance is not None
    assert case.agreement.overlap.dice == 1
    assert case.agreement.distance.longest_mm == 0
    assert case.agreement.places == ()
    assert sentence(case) == "A and B give the same bone, cell by cell."
    # Nothing is left of the work but what is written.
    assert list((tmp_path / "out").iterdir()) == []


def test_half_and_whole_differ_by_the_other_half(half_and_whole: Comparison) -> None:
    case, found = only(half_and_whole), agreement(half_and_whole)
    assert [one.key for one in half_and_whole.settings] == ["region"]
    assert found.distance is not None
    a_ml, b_ml = volume_ml(case.a), volume_ml(case.b)
    assert found.overlap.only_b_ml - found.overlap.only_a_ml == pytest.approx(b_ml - a_ml, abs=0.1)
    assert found.overlap.only_a_ml < 0.1
    assert found.overlap.dice == pytest.approx(2 * a_ml / (a_ml + b_ml), abs=0.03)
    # The block ends at -7.8 mm, half of it at -1.5 mm: the corners of its end are that far from the other surface.
    assert found.distance.b_to_a.longest_mm == pytest.approx(6.3, abs=0.4)
    assert found.distance.p95_mm == max(found.distance.a_to_b.p95_mm, found.distance.b_to_a.p95_mm)
    assert [(one.pieces, one.tunnels, one.cavities) for one in found.topology] == [(1, 0, 0)] * 2


def test_a_configuration_without_a_result_says_why_and_the_other_is_reported(blind: Comparison, tmp_path: Path) -> None:
    case = only(blind)
    assert not case.compared
    assert isinstance(case.a, Report)
    assert isinstance(case.b, Refusal)
    assert case.b.code == "NoSkullBase"
    assert sentence(case).startswith("B gives no result: the scan shows no skull base")
    assert all("the scan shows no skull base" in path.read_text() for path in write(blind, tmp_path))


def test_each_follows_its_own_rules_and_other_frames_of_reference_are_not_laid_over_each_other(
    series: Maker, tmp_path: Path
) -> None:
    study = [series("one"), series("two", FrameOfReferenceUID="1.2.3.4")]
    rules = [Rule(name="not", when={"FrameOfReferenceUID": {"regex": digits}}, take=False) for digits in ("^1", "^2")]  # type: ignore[dict-item]
    found = compared(study, *(CONFIG.model_copy(update={"rules": (rule,)}) for rule in rules), tmp_path)
    case = only(found)
    assert isinstance(case.a, Report)
    assert isinstance(case.b, Report)
    chosen = [case.a.series_instance_uid, case.b.series_instance_uid]
    assert chosen == [one.key.series_instance_uid for one in study]
    assert not case.compared
    assert "different Frames of Reference" in sentence(case)
    assert any("another series was chosen" in row for table in tables(case) for row in table.rows)
    assert [one.key for one in found.settings] == ["rules.not.when.FrameOfReferenceUID.regex"]


class Links(HTMLParser):
    """What a page asks for, and what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.pictures: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "img":
            assert found["alt"]
            self.pictures.append(str(found["src"]))
        self.asked += [str(found[key]) for key in ("src", "href", "action", "data", "srcset") if key in found]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_needs_nothing_else_and_names_nobody(
    half_and_whole: Comparison, study: list[Series], tmp_path: Path
) -> None:
    page, record = write(half_and_whole, tmp_path)
    text = page.read_text(encoding="utf-8")
    links = Links(text)
    assert links.open == []
    assert len(links.pictures) == 6 * len(agreement(half_and_whole).places) + 9
    assert all(asked.startswith("data:image/jpeg;base64,") for asked in links.asked)
    assert "@import" not in text
    assert "url(" not in text
    for content in (text, record.read_text(encoding="utf-8")):
        for secret in (NAME, "CANARY", study[0].key.study_instance_uid, study[0].key.series_instance_uid):
            assert secret not in content
    content = json.loads(record.read_text(encoding="utf-8"))
    assert content["settings"] == [{"key": "region", "a": '"skull_base"', "b": '"all_bone"'}]
    (said,) = content["studies"]
    assert said["study"] == "study-1"
    assert said["agreement"]["surface_distance"]["longest_mm"] > 5
    assert said["a"]["volume_ml"] < said["b"]["volume_ml"]
    assert set(said["a"]["seconds"]) == set(said["b"]["seconds"])


def test_every_row_has_a_cell_for_each_heading(half_and_whole: Comparison, blind: Comparison) -> None:
    for found in (half_and_whole, blind):
        for table in (overview(found), *tables(only(found))):
            assert table.rows
            assert all(len(row) == len(table.headings) for row in table.rows), table.title
