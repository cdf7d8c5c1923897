"""`sbnode compare`: what it takes, what it says, and what it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbnode import comparison
from sbnode.comparison import Case, Comparison, Refusal
from sbnode.comparison.settings import ModelFacts
from sbnode.config import Config, load_config
from sbnode.jobs.client import JobClient
from sbnode.series import Series
from sbnode.spool import Spool
from tests.jobs.fakes import fill
from tests.scp.instances import ct_slice, files
from tests.test_cli import sbnode

MODEL = ModelFacts("skullbase", "1.0", "ab" * 32)
NOTHING = Refusal("NoSkullBase", "the scan shows no skull base (confidence 0.02)")


class Compared:
    """Stands for the comparison: notes what it was given; nobody gives a result."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.studies: dict[str, Sequence[Series]] = {}
        self.configs: tuple[Config, ...] = ()
        monkeypatch.setattr(comparison, "compare", self._compare)

    def _compare(
        self, studies: Mapping[str, Sequence[Series]], a: Config, b: Config, folder: Path, **_: Any
    ) -> Comparison:
        self.studies, self.configs = dict(studies), (a, b)
        cases = tuple(Case(label=label, a=NOTHING, b=NOTHING) for label in studies)
        models = ((MODEL, MODEL), (MODEL, MODEL))
        return Comparison(made_at=datetime(2026, 1, 2, tzinfo=UTC), settings=(), models=models, cases=cases)


@pytest.fixture
def configs(tmp_path: Path) -> tuple[Path, Path]:
    """A and B, which have a spool of their own and another threshold."""
    made = []
    for name, seed in (("a", 0.45), ("b", 0.5)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"spool": {"path": f"spool-{name}"}, "threshold": {"seed": seed}}))
        made.append(path)
    return made[0], made[1]


def test_studies_of_the_spool_by_id_and_of_folders_and_nothing_of_the_spool_changes(
    monkeypatch: pytest.MonkeyPatch, configs: tuple[Path, Path], tmp_path: Path
) -> None:
    fake = Compared(monkeypatch)
    config = load_config(configs[0])
    spool = Spool(config.spool.path, 0)
    client = JobClient(config, spool)
    study = client.submit(fill(spool, slices=3))
    client.close()
    folder = tmp_path / "PATIENT^NAME"
    folder.mkdir()
    files(folder, [ct_slice(n, study="1.2.9") for n in range(1, 6)])
    before = {
        path: path.stat().st_mtime_ns for path in config.spool.path.rglob("*") if path.suffix in (".dcm", ".json")
    }

    code, text = sbnode(
        "compare", study[:12], folder, "-c", configs[0], "--with", configs[1], "--out", tmp_path / "report"
    )
    assert code == 3
    assert [len(series.instances) for one in fake.studies.values() for series in one] == [3, 5]
    first, second = fake.studies
    assert first == study
    assert second.startswith("study ")
    assert [one.threshold.seed for one in fake.configs] == [0.45, 0.5]
    assert "A gives no result: the scan shows no skull base" in text
    page = (tmp_path / "report" / "report.html").read_text()
    assert study in page
    assert "PATIENT" not in page + (tmp_path / "report" / "report.json").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert not (tmp_path / "spool-b").exists()


def test_what_isn_t_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, configs: tuple[Path, Path], tmp_path: Path
) -> None:
    Compared(monkeypatch)
    arguments = ("-c", configs[0], "--with", configs[1], "--out", tmp_path / "report")
    code, text = sbnode("compare", "study-1", *arguments)
    assert code == 2
    assert "is not a folder" in text
    assert not (tmp_path / "spool-a").exists()
    Spool(tmp_path / "spool-a", 0)
    code, text = sbnode("compare", "study-1", *arguments)
    assert code == 3
    assert "neither a folder nor the beginning of an id" in text
    (tmp_path / "b.yaml").write_text("treshold: {}")
    code, text = sbnode("compare", "study-1", *arguments)
    assert code == 2
    assert "did you mean 'threshold'" in text
