"""The bone lies on the bone in OHIF: pixels of the screen against the Segmentation, in patient space."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from highdicom import UID
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from tests.conftest import REPOSITORY
from tests.integration.peers import Orthanc, program, sbnode_command
from tests.viewer.ohif import CHROMIUM_FLAGS, Shot, Viewer, start_web_server

ARTEFACTS = REPOSITORY / "build" / "viewer"
"""Where the screenshots go."""
SEEN = 10
"""A pixel has changed when a colour of it differs by more than this, of 255."""
HEIGHTS = (0.2, 0.5, 0.8)
"""Slices that are looked at: shares of the way through the frames of a segment."""

pytestmark = [pytest.mark.viewer, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Clinic:
    """An archive, its viewer, and a browser in front of it."""

    archive: Orthanc
    origin: str
    browser: Browser


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    archive = Orthanc.start(tmp_path / "orthanc", {})
    server, origin = start_web_server(tmp_path / "web", archive)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium", "chromium"), args=list(CHROMIUM_FLAGS))
        yield Clinic(archive, origin, browser)
        browser.close()
    server.stop()
    archive.process.stop()


def instances(folder: Path) -> list[Dataset]:
    """The instances of a study as it lies on a disk."""
    found = [pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [one for one in found if one.file_meta.MediaStorageSOPClassUID != MediaStorageDirectoryStorage]


def as_it_is(study: Path, folder: Path) -> Path:
    """A copy without the directory file, which no archive takes."""
    folder.mkdir()
    for number, one in enumerate(instances(study)):
        shutil.copyfile(str(one.filename), folder / f"{number}.dcm")
    return folder


def enhanced(study: Path, folder: Path) -> Path:
    """The longest series as one Legacy Converted Enhanced CT in a study of its own."""
    slices = [one for one in instances(study) if one.get("SeriesNumber") == 201]
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    uid = UID()
    for one in slices:
        one.StudyInstanceUID = uid
    image = LegacyConvertedEnhancedCTImage(
        slices, series_instance_uid=UID(), series_number=7, sop_instance_uid=UID(), instance_number=1
    )
    folder.mkdir()
    image.save_as(folder / "enhanced.dcm")
    return folder


def process(study: Path, out: Path, **settings: object) -> tuple[Dataset, Path]:
    """The Segmentation that the node makes of a study, and the file that the viewer shall show."""
    config = out.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    command = [*sbnode_command(), "run", str(study), "--out", str(out), "--config", str(config)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return pydicom.dcmread(out / "seg.dcm"), out / ("labelmap.dcm" if settings.get("results") else "seg.dcm")


LABEL_MAP = {"results": {"label_map": True}}
CASES: dict[str, tuple[str, Callable[[Path, Path], Path], dict[str, object]]] = {
    "siemens": ("siemens-headneck-contrast", as_it_is, {}),
    "visible human": ("visible-human-male-head", as_it_is, {}),
    "philips, tilted": ("philips-phantom-tilted", as_it_is, {}),
    "philips, tilted, enhanced": ("philips-phantom-tilted", enhanced, {}),
    "visible human, label map": ("visible-human-male-head", as_it_is, LABEL_MAP),
    "ge, tilted, 7 mm": (
        "ge-hispeed-tilted",
        as_it_is,
        {"region": "all_bone", "selection": {"max_slice_step_mm": 8.0}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_overlay_lies_on_the_segmented_bone(case: str, clinic: Clinic, shared_data: Path, tmp_path: Path) -> None:
    series, prepare, settings = CASES[case]
    study = prepare(shared_data / series, tmp_path / "study")
    segmentation, shown = process(study, tmp_path / "results", **settings)
    (tmp_path / "sent").mkdir()
    shutil.copy(shown, tmp_path / "sent")
    clinic.archive.upload(study)
    clinic.archive.upload(tmp_path / "sent")

    page = clinic.browser.new_page(viewport={"width": 1500, "height": 1100})
    try:
        viewer = Viewer(page, clinic.origin, segmentation.StudyInstanceUID)
        positions = frame_positions(segmentation)
        looked_at = [positions[int(share * (len(positions) - 1))] for share in HEIGHTS]
        viewer.load_segmentation()
        expected_labels = [str(segment.SegmentLabel) for segment in segmentation.SegmentSequence]
        assert list(viewer.segment_labels()) == expected_labels
        for number, position in enumerate(looked_at):
            viewer.show(position)
            viewer.overlay(shown=False)
            plain = viewer.shot()
            viewer.overlay(shown=True)
            marked = viewer.shot()
            save(marked, f"{case}, {number + 1} of {len(looked_at)}")
            changed = (np.abs(marked.rgb.astype(int) - plain.rgb) > SEEN).any(axis=-1)
            expected = bone_at(segmentation, position, marked)
            assert expected.sum() > 500, "the slice shows too little bone to tell"
            certain = marked.rgb[changed & bone_at(segmentation, position, marked, segment=1)].mean(axis=0)
            assert certain[0] > certain[2] + 10, "the certain bone isn't shown in its own colour, which is yellowish"
            overlap = dice(changed, expected)
            assert overlap > 0.85  # a screen pixel is smaller than a voxel, and OHIF draws thick outlines
            for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                shifted = dice(changed, bone_at(segmentation, position, marked, shift))
                assert shifted < overlap - 0.03, f"the overlay lies nearer to the bone moved by {shift} voxels"
    finally:
        page.screenshot(path=ARTEFACTS / f"{case}, the page.png")
        page.close()


def frame_positions(segmentation: Dataset) -> list[list[float]]:
    """Positions of the frames of the first segment, in order."""
    return [
        [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        for group in segmentation.PerFrameFunctionalGroupsSequence
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
    ]


def bone_at(
    segmentation: Dataset,
    position: list[float],
    shot: Shot,
    shift: tuple[int, int] = (0, 0),
    segment: int | None = None,
) -> NDArray[np.bool_]:
    """Where the pixels of the screen lie in bone of one or any segment, by PS3.3 C.7.6.2 and no library.

    ``shift`` moves the bone by so many rows and columns.
    """
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    mask = np.zeros((segmentation.Rows, segmentation.Columns), bool)
    for group, frame in zip(
        segmentation.PerFrameFunctionalGroupsSequence, segmentation.pixel_array.astype(bool), strict=True
    ):
        if segment not in (None, group.SegmentIdentificationSequence[0].ReferencedSegmentNumber):
            continue
        if np.allclose(np.array(group.PlanePositionSequence[0].ImagePositionPatient, float), position, atol=1e-3):
            mask |= frame
    offset = shot.positions_mm() - np.array(position)
    assert np.abs(offset @ np.cross(*orientation)).max() < 0.2, "the viewer shows another plane"
    column = np.rint(offset @ orientation[0] / column_mm).astype(int) - shift[1]
    row = np.rint(offset @ orientation[1] / row_mm).astype(int) - shift[0]
    within = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
    return within & mask[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Overlap of two masks."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def save(shot: Shot, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shot.rgb).save(ARTEFACTS / f"{name}.png")
