"""Reading series into Hounsfield units, and the pixels that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from sbnode.config import Selection
from sbnode.errors import SeveralPatients, UndecodablePixels
from sbnode.inference.volume import read_volume
from sbnode.series import Series, read_instance
from simulator.dicom import axial_stack, write_series

RULES = Selection()


def series_in(folder: Path) -> Series:
    instances = [read_instance(path) for path in sorted(folder.iterdir())]
    return Series.of(instances[0].key, instances)


def edit(folder: Path, change: Callable[[Dataset], None], number: int = 0) -> None:
    path = sorted(folder.iterdir())[number]
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


@pytest.fixture
def hu() -> np.ndarray:
    values = np.random.default_rng(4).integers(-1000, 2000, (6, 32, 40))
    values[:, :4] = -1000
    return values.astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path, hu: np.ndarray) -> Path:
    write_series(hu, axial_stack((6, 32, 40), (1.0, 0.5, 0.6)), tmp_path / "series", order="shuffled")
    return tmp_path / "series"


def test_values_and_order_are_those_of_the_scan(folder: Path, hu: np.ndarray) -> None:
    volume = read_volume(series_in(folder), RULES)
    assert np.array_equal(volume.hu, hu)
    assert volume.stack.shape == (6, 32, 40)
    assert (volume.stack.row_spacing_mm, volume.stack.column_spacing_mm) == (0.5, 0.6)
    positions = [instance.position_mm[2] for instance in volume.instances if instance.position_mm]
    assert positions == sorted(positions)
    assert volume.findings == ()


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_every_syntax_gives_the_same_values(tmp_path: Path, hu: np.ndarray, syntax: str) -> None:
    stack = axial_stack((6, 32, 40), (1.0, 0.5, 0.6))
    write_series(hu, stack, tmp_path / "series", transfer_syntax=syntax)
    assert np.array_equal(read_volume(series_in(tmp_path / "series"), RULES).hu, hu)


def test_padding_becomes_air(folder: Path) -> None:
    edit(folder, lambda dataset: setattr(dataset, "RescaleIntercept", "-3024"))
    assert read_volume(series_in(folder), RULES).hu.min() == -1024


def test_files_of_two_patients_are_refused_without_naming_them(folder: Path) -> None:
    edit(folder, lambda dataset: setattr(dataset, "PatientID", "OTHER-4711"))
    with pytest.raises(SeveralPatients, match="2 different patients") as caught:
        read_volume(series_in(folder), RULES)
    assert "4711" not in str(caught.value)


def test_values_without_air_are_not_hounsfield_units(tmp_path: Path) -> None:
    values = np.full((6, 32, 40), 40, np.int16)
    write_series(values, axial_stack((6, 32, 40), (1.0, 0.5, 0.6)), tmp_path / "series")
    with pytest.raises(UndecodablePixels, match=r"darkest 0\.1 % lie at 40"):
        read_volume(series_in(tmp_path / "series"), RULES)


def test_a_missing_rescale_is_refused(folder: Path) -> None:
    edit(folder, lambda dataset: delattr(dataset, "RescaleIntercept"))
    with pytest.raises(UndecodablePixels, match="Rescale"):
        read_volume(series_in(folder), RULES)


def test_truncated_pixels_are_refused(folder: Path) -> None:
    edit(folder, lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:100]))
    with pytest.raises(UndecodablePixels, match="can't be decoded"):
        read_volume(series_in(folder), RULES)


@pytest.mark.parametrize(("agent", "told"), [("OMNIPAQUE 350", True), ("NONE", False), ("", False)])
def test_a_contrast_agent_is_a_finding_unless_it_says_none(folder: Path, agent: str, told: bool) -> None:
    edit(folder, lambda dataset: setattr(dataset, "ContrastBolusAgent", agent))
    codes = {finding.code for finding in read_volume(series_in(folder), RULES).findings}
    assert ("contrast" in codes) == told


def test_another_unit_is_refused(folder: Path) -> None:
    edit(folder, lambda dataset: setattr(dataset, "RescaleType", "OD"))
    with pytest.raises(UndecodablePixels, match="OD"):
        read_volume(series_in(folder), RULES)


def test_tilted_philips_phantom_is_read_as_a_sheared_stack(shared_data: Path) -> None:
    paths = [p for p in (shared_data / "philips-phantom-tilted" / "S2010").iterdir() if p.name.startswith("I")]
    instances = [read_instance(path) for path in paths]
    volume = read_volume(Series.of(instances[0].key, instances), RULES)
    assert volume.stack.shape == (54, 512, 512)
    assert {finding.code for finding in volume.findings} == {"gantry_tilt"}
    assert "18.5 degrees" in volume.findings[0].message


def test_siemens_series_reports_lossy_compression(shared_data: Path) -> None:
    paths = sorted((shared_data / "siemens-headneck-contrast").iterdir())
    instances = sorted((read_instance(path) for path in paths), key=lambda i: i.position_mm or ())[100:110]
    volume = read_volume(Series.of(instances[0].key, instances), RULES)
    assert {finding.code for finding in volume.findings} == {"lossy_compression"}
    assert volume.hu.max() > 1000
