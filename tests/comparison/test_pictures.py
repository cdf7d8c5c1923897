"""What only one of two bones has is drawn in its colour, at its place."""

from __future__ import annotations

import numpy as np
import pytest

from sbnode.comparison.pictures import ONLY_A, ONLY_B, REACH_MM, cuts, views
from sbnode.inference.bone import Bone
from tests.comparison.shapes import ball, bone, box, grid
from tests.results.phantom import Scan, make_scan

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
WALL = box(np.array([0.0, 4.0, 0.0]), np.array([7.0, 1.0, 7.0]))
PLATE = box(np.array([4.0, -3.0, 5.0]), np.array([1.5, 1.5, 1.5]))
"""Left of the middle, before it and above it."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return make_scan(tmp_path_factory.mktemp("scan"))


@pytest.fixture(scope="module")
def bones() -> tuple[Bone, Bone]:
    """A wall with a plate, and the wall alone."""
    return bone(grid(), lambda points: np.maximum(WALL(points), PLATE(points))), bone(grid(), WALL)


def like(image: Picture, rgb: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where the hue is that of ``rgb``."""
    wanted = np.array(rgb, float) - np.mean(rgb)
    found = image.astype(float) - image.mean(axis=2, keepdims=True)
    length = np.linalg.norm(found, axis=2)
    return np.asarray((found @ wanted > 0.95 * length * np.linalg.norm(wanted)) & (length > 30))


def test_a_cut_shows_the_plate_in_the_colour_of_who_has_it(scan: Scan, bones: tuple[Bone, Bone]) -> None:
    at = np.array([4.0, -3.0, 5.0])
    for pair, colour, other in ((bones, ONLY_A, ONLY_B), (bones[::-1], ONLY_B, ONLY_A)):
        scans, marked = cuts(*pair, scan.volume, at)
        for plain, panel in zip(scans, marked, strict=True):
            rows, columns = np.nonzero(like(panel.image, colour))
            pixels_per_mm = panel.image.shape[0] / (2 * REACH_MM)
            assert len(rows) == pytest.approx((3.0 * pixels_per_mm) ** 2, rel=0.15)
            assert (rows.mean(), columns.mean()) == pytest.approx((panel.image.shape[0] / 2,) * 2, abs=3)
            assert not like(panel.image, other).any()
            assert not like(plain.image, colour).any()


def test_a_cut_shows_the_scan_in_the_radiological_convention(scan: Scan, bones: tuple[Bone, Bone]) -> None:
    axial, coronal, sagittal = cuts(*bones, scan.volume, np.array([2.0, -1.0, 1.0]))[0]
    # The ball is in the middle, its plate left of it in the patient: on the right of the picture.
    bright = axial.image[..., 0] > 120
    middle = axial.image.shape[1] // 2
    assert bright[middle, middle]
    assert bright[:, middle + 110 :].any()
    assert not bright[:, : middle - 110].any()
    assert [panel.letters for panel in (axial, coronal, sagittal)] == [
        ("R", "L", "A", "P"),
        ("R", "L", "S", "I"),
        ("A", "P", "S", "I"),
    ]


def test_the_surface_shows_it_from_the_sides_it_is_seen_from(bones: tuple[Bone, Bone]) -> None:
    for pair, colour, other in ((bones, ONLY_A, ONLY_B), (bones[::-1], ONLY_B, ONLY_A)):
        superior, inferior, anterior = (row[2].image for row in views(*pair, "skull_base"))
        for image, is_left in ((superior, False), (inferior, True), (anterior, True)):
            found = like(image, colour)
            assert found.any()
            assert not like(image, other).any()
            # The plate is on the patient's left: right in the picture from below and before, left from above.
            assert (np.nonzero(found)[1].mean() > image.shape[1] / 2) == is_left


def test_a_surface_that_lies_deeper_is_no_bone_of_its_own() -> None:
    large, small = (bone(grid(), ball(np.zeros(3), radius)) for radius in (6.0, 5.6))
    for row in views(large, small, "skull_base"):
        assert like(row[2].image, ONLY_A).mean() < 0.05
