from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from sbnode.results.album import Page
from sbnode.results.capture import build
from sbnode.results.report import NOTICE
from tests.integration.peers import program
from tests.results.phantom import Scan, derivation, to_bytes

PICTURE = np.random.default_rng(1).integers(0, 255, (41, 63, 3), dtype=np.uint8)
PAGE = Page("From above", PICTURE)


@pytest.fixture(scope="module")
def written(scan: Scan) -> Dataset:
    return pydicom.dcmread(BytesIO(to_bytes(build(PAGE, 2, scan.volume, derivation()))))


def test_the_picture_comes_back_in_colour(written: Dataset) -> None:
    assert written.SOPClassUID == SecondaryCaptureImageStorage
    assert written.PhotometricInterpretation == "RGB"
    assert np.array_equal(written.pixel_array, PICTURE)


def test_it_lies_in_the_study_in_a_series_of_its_own_and_names_its_source(written: Dataset, scan: Scan) -> None:
    source = pydicom.dcmread(scan.volume.instances[0].path)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert written.get(keyword) == source.get(keyword), keyword
    assert written.SeriesInstanceUID != source.SeriesInstanceUID
    assert len(written.SourceImageSequence) == len(scan.volume.instances)
    assert written.ImageComments == NOTICE
    assert "RESEARCH" in written.SeriesDescription
    assert written.RecognizableVisualFeatures == "NO"
    assert not written.PatientOrientation
    assert written.ConversionType == "WSD"
    assert written.InstanceNumber == 2
    assert "From above" in written.DerivationDescription


def test_the_same_job_gives_the_same_bytes(scan: Scan) -> None:
    first, second = (to_bytes(build(PAGE, 2, scan.volume, derivation())) for _ in range(2))
    assert first == second


def test_dciodvfy_finds_no_error_and_dcmtk_draws_it(scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "preview.dcm"
    build(PAGE, 2, scan.volume, derivation()).save_as(path, enforce_file_format=True)
    checked = subprocess.run([program("dciodvfy", "dicom3tools"), path], capture_output=True, text=True, check=False)
    assert [line for line in checked.stderr.splitlines() if line.startswith("Error")] == []
    drawn = tmp_path / "preview.ppm"
    subprocess.run([program("dcm2pnm", "dcmtk"), path, drawn], check=True, timeout=60)
    assert drawn.read_bytes().endswith(PICTURE.tobytes())
