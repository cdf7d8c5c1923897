from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sbnode.errors import SpoolError
from sbnode.jobs.manifest import Manifest
from sbnode.spool import Spool
from tests.jobs.fakes import fill, store_series


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


def test_the_same_instances_have_the_same_name_and_one_more_has_another(spool: Spool) -> None:
    first = Manifest.of(fill(spool, slices=3))
    assert Manifest.of(fill(spool, slices=3)).study_id == first.study_id
    assert Manifest.of(fill(spool, slices=4)).study_id != first.study_id
    assert "1.2.3" not in first.study_id


def test_a_manifest_names_exactly_the_instances_of_its_moment(spool: Spool) -> None:
    manifest = Manifest.of(fill(spool, slices=3))
    manifest.write(spool, "job")
    store_series(spool, "1.2.3", "1.2.3.1", 5)
    read = Manifest.read(spool, "job")
    assert read == manifest
    assert [len(series.instances) for series in read.study(spool)] == [3]


def test_the_first_manifest_stays_because_it_dates_the_results(spool: Spool) -> None:
    manifest = Manifest.of(fill(spool, slices=3))
    manifest.write(spool, "job")
    later = replace(manifest, received_at="2030-01-01T00:00:00.000+00:00")
    later.write(spool, "job")
    assert Manifest.read(spool, "job").received == manifest.received
    assert [path.name for path in (spool.path / "jobs").iterdir()] == ["job.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"study_instance_uid": "1.2"}'])
def test_a_damaged_manifest_is_an_error_in_words(spool: Spool, content: str) -> None:
    (spool.path / "jobs").mkdir()
    (spool.path / "jobs" / "job.json").write_text(content)
    with pytest.raises(SpoolError, match=r"job\.json"):
        Manifest.read(spool, "job")
