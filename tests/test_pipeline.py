"""The whole pipeline on a small scan with a network whose answer is known, and what names a job."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from sbnode.config import Config, Selection, Threshold
from sbnode.errors import NoSkullBase, NoUsableSeries
from sbnode.inference.geometry import Grid
from sbnode.inference.model import ModelDescription, OccupancyModel
from sbnode.inference.region import BONES, RegionMap
from sbnode.inference.volume import Volume
from sbnode.pipeline import RESULT_FILES, STAGES, Models, job_key, run
from sbnode.series import Series, read_instance
from simulator.dicom import axial_stack, write_series
from tests.inference.test_model import CPU, write_model

MADE_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONFIG = Config(selection=Selection(min_extent_mm=10))


@dataclass
class Region:
    """A region network that calls everything left of the middle skull base, or nothing."""

    description: ModelDescription
    found: bool = True

    def locate(self, volume: Volume) -> RegionMap:
        grid = Grid(origin_mm=np.full(3, -15.0), axes=np.eye(3)[::-1], spacing_mm=3.0, shape=(11, 11, 11))
        inside = np.zeros(grid.shape, np.float32)
        inside[:, :, 5:] = 1
        bones = np.zeros((len(BONES), *grid.shape), np.float32)
        bones[BONES.index("temporal")] = 0.9
        left_mm = grid.to_patient(np.moveaxis(np.indices(grid.shape).astype(float), 0, -1))[..., 0]
        place = np.broadcast_to(left_mm.astype(np.float32), (3, *grid.shape))
        return RegionMap(
            grid=grid, inside=inside, bones=bones, place_mm=place, bone_ml=1.0, confidence=0.9, found=self.found
        )


@pytest.fixture
def models(tmp_path: Path) -> Models:
    occupancy = OccupancyModel.open(write_model(tmp_path / "model"), CPU)
    return Models(occupancy, Region(occupancy.description))  # type: ignore[arg-type]


@pytest.fixture
def study(tmp_path: Path) -> list[Series]:
    """A cube of bone of 16 mm in the middle of air, 24 slices of 1 mm."""
    stack = axial_stack((24, 48, 48), (1.0, 0.6, 0.6))
    hu = np.full(stack.shape, -1000, np.int16)
    hu[4:20, 11:37, 11:37] = 1000
    instances = [read_instance(path) for path in write_series(hu, stack, tmp_path / "series")]
    return [Series.of(instances[0].key, instances)]


def made(study: list[Series], models: Models, config: Config, folder: Path, *, fine: bool = False) -> dict[str, object]:
    folder.mkdir()
    run(study, models, config, folder, made_at=MADE_AT, with_fine=fine)
    return dict(json.loads((folder / "result.json").read_text()))


def test_a_run_writes_every_result_file(study: list[Series], models: Models, tmp_path: Path) -> None:
    report = made(study, models, CONFIG, tmp_path / "out", fine=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*RESULT_FILES, "bone.seg.nrrd"}
    assert list(report["seconds"]) == [*STAGES, "fine"]  # type: ignore[call-overload]
    assert report["model"]["name"] == "mean"  # type: ignore[index]
    assert report["series_instance_uid"] == study[0].key.series_instance_uid
    assert "Not a medical device" in str(report["notice"])


def test_the_region_is_half_of_all_bone(study: list[Series], models: Models, tmp_path: Path) -> None:
    half = made(study, models, CONFIG, tmp_path / "half")
    whole = made(study, models, CONFIG.model_copy(update={"region": "all_bone"}), tmp_path / "whole")
    volumes_ml = [float(str(report["volume_ml"])) for report in (half, whole)]
    assert volumes_ml[1] == pytest.approx(16 * 15.6**2 / 1000, rel=0.1)
    # The block reaches from -7.8 to 7.8 mm, the region begins at -1.5 mm.
    assert volumes_ml[0] / volumes_ml[1] == pytest.approx(9.3 / 15.6, abs=0.03)
    # One piece across the middle: the side of a paired bone is left open.
    assert [(bone["name"], bone["side"]) for bone in half["bones"]] == [("temporal bone", "")]  # type: ignore[attr-defined]
    assert whole["bones"] == []


def test_the_same_run_makes_the_same_bytes(study: list[Series], models: Models, tmp_path: Path) -> None:
    made(study, models, CONFIG, tmp_path / "first")
    made(study, models, CONFIG, tmp_path / "second")
    for name in ("seg.dcm", "stl.dcm", "surface.stl", "preview.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_results_lie_in_the_study_and_frame_of_reference(study: list[Series], models: Models, tmp_path: Path) -> None:
    made(study, models, CONFIG, tmp_path / "out")
    source = pydicom.dcmread(study[0].instances[0].path)
    for name in ("seg.dcm", "stl.dcm"):
        result = pydicom.dcmread(tmp_path / "out" / name)
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "StudyDate"):
            assert result[keyword].value == source[keyword].value
        assert result.SeriesInstanceUID != source.SeriesInstanceUID


def test_no_skull_base_gives_no_result(study: list[Series], models: Models, tmp_path: Path) -> None:
    nothing = replace(models, region=Region(models.occupancy.description, found=False))  # type: ignore[arg-type]
    with pytest.raises(NoSkullBase, match="no skull base"):
        made(study, nothing, CONFIG, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_an_unusable_study_gives_no_result(study: list[Series], models: Models, tmp_path: Path) -> None:
    with pytest.raises(NoUsableSeries, match="23 mm long"):
        made(study, models, Config(), tmp_path / "out")


def test_the_job_key_follows_what_changes_the_result(study: list[Series], models: Models) -> None:
    series = study[0]
    fewer = Series.of(series.key, series.instances[:-1])
    config = CONFIG.model_copy(update={"threshold": Threshold(seed=0.5)})
    other = replace(
        models,
        occupancy=replace(
            models.occupancy, description=models.occupancy.description.model_copy(update={"sha256": "0" * 64})
        ),
    )
    keys = {
        job_key(series, models, CONFIG),
        job_key(fewer, models, CONFIG),
        job_key(series, models, config),
        job_key(series, models, CONFIG.model_copy(update={"region": "all_bone"})),
        job_key(series, other, CONFIG),
    }
    assert len(keys) == 5
    assert job_key(Series.of(series.key, series.instances[::-1]), models, CONFIG) in keys


def test_the_job_key_ignores_where_the_node_runs(study: list[Series], models: Models) -> None:
    moved = CONFIG.model_copy(update={"status": CONFIG.status.model_copy(update={"port": 9999})})
    assert job_key(study[0], models, CONFIG) == job_key(study[0], models, moved)


@pytest.mark.parametrize(("setting", "file"), [("fine", "fine.dcm"), ("label_map", "labelmap.dcm")])
def test_other_segmentations_are_made_where_they_are_wanted(
    study: list[Series], models: Models, tmp_path: Path, setting: str, file: str
) -> None:
    wanted = CONFIG.model_copy(update={"results": CONFIG.results.model_copy(update={setting: True})})
    made(study, models, wanted, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*RESULT_FILES, file}
    assert job_key(study[0], models, wanted) != job_key(study[0], models, CONFIG)
