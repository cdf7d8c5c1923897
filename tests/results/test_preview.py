from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sbnode.inference.bone import Bone, Finding, Foramen
from sbnode.inference.geometry import Grid
from sbnode.results import album, panels, preview
from sbnode.results.views import DIRECTIONS, Anatomical, View, render_view
from tests.results.phantom import BALL_MM, BALL_RADIUS_MM, Scan

WHITE, BLUE = np.array([1, 1, 1], np.float32), np.array([0, 0, 1], np.float32)
BLACK = np.zeros(3, np.float32)
# Rows of the axes matrix: directions of growing slice, row and column; sagittal slices, from left to right.
SAGITTAL = np.array([[-1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
AXIAL = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])


def bone_with_corner(axes: np.ndarray) -> Bone:
    """A block with a smaller one, inferred, at its left, anterior, superior corner."""
    grid = Grid(origin_mm=np.zeros(3), axes=axes, spacing_mm=1.0, shape=(30, 30, 30))
    points = grid.to_patient(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))
    middle = grid.to_patient(np.array([14.5] * 3))
    offset = points - middle
    block = np.abs(offset).max(axis=-1) < 6
    corner = np.abs(offset - [8, -8, 8]).max(axis=-1) < 3
    level = np.where(block | corner, 0.5, -0.5).astype(np.float32)
    return Bone(
        grid=grid,
        level=level,
        inferred=corner & ~block,
        canal=np.zeros(level.shape, bool),
        plate=np.zeros(level.shape, bool),
    )


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL])
@pytest.mark.parametrize(
    ("side", "at_top", "at_left"),
    [
        ("anterior", True, False),
        ("posterior", True, True),
        ("left", True, True),
        ("right", True, False),
        ("superior", True, True),
        ("inferior", True, False),
    ],
)
def test_views_show_the_patient_the_right_way_round(axes: np.ndarray, side: str, at_top: bool, at_left: bool) -> None:
    """The corner is left, anterior and superior: where the letters say so, there it must be in the picture."""
    view = View.from_side(side)
    picture = render_view(Anatomical.of(bone_with_corner(axes)), view, (WHITE, BLUE), BLACK).astype(int)
    is_blue = picture[..., 2] > picture[..., 0] + 20
    rows, columns = np.nonzero(is_blue)
    assert rows.size
    assert (rows.mean() < 15) == at_top
    assert (columns.mean() < 15) == at_left
    left, right, top, bottom = view.letters
    assert {left, right} in ({"L", "R"}, {"A", "P"})
    assert ({left: True, right: False}[next(letter for letter in "LA" if letter in (left, right))]) == at_left
    assert {top, bottom} in ({"S", "I"}, {"A", "P"})
    assert top in "SA"


def test_a_shell_of_inferred_cells_on_certain_bone_is_not_shown_as_thin_bone() -> None:
    bone = bone_with_corner(AXIAL)
    inner = np.zeros_like(bone.inferred)
    inner[10:20, 10:20, 10:20] = True
    shell = replace(bone, inferred=(bone.level > 0) & ~inner)
    picture = render_view(Anatomical.of(shell), View.from_side("anterior"), (WHITE, BLUE), BLACK).astype(int)
    assert picture[15, 15, 0] == picture[15, 15, 2] > 0


def panels_of(scan: Scan, foramina: tuple[Foramen, ...] = ()) -> tuple[panels.Panel, ...]:
    return (*panels.views(scan.bone, "skull_base", foramina), *panels.cuts(scan.bone, scan.volume, "skull_base"))


def drawn(scan: Scan, flags: tuple[Finding, ...] = (), foramina: tuple[Foramen, ...] = ()) -> Image.Image:
    return preview.render(panels_of(scan, foramina), scan.bone, scan.volume, flags, foramina=foramina)


@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_the_picture_has_its_panels_and_both_colours(case: str, request: pytest.FixtureRequest) -> None:
    scan: Scan = request.getfixturevalue(case)
    picture = np.asarray(drawn(scan))
    assert picture.ndim == 3
    assert picture.shape[0] > 1000
    is_blue = picture[..., 2].astype(int) > picture[..., 0].astype(int) + 60
    is_bone = picture[..., 0].astype(int) > picture[..., 2].astype(int) + 40
    # The plate is seen from several sides, and its outline on the CT.
    assert is_blue.sum() > 500
    assert is_bone.sum() > 5000


def test_each_flag_gets_a_line(scan: Scan) -> None:
    plain = drawn(scan)
    noted = drawn(scan, flags=(Finding("metal", "2.0 mL of metal"), Finding("cut", "it ends")))
    assert noted.height > plain.height
    added = np.asarray(noted)[plain.height :].astype(int)
    assert (added[..., 0] > added[..., 2] + 100).sum() > 100


def test_openings_are_listed_within_the_picture_and_marked_where_they_are(scan: Scan) -> None:
    names = ("foramen magnum", "internal acoustic meatus", "jugular foramen", "hypoglossal canal", "carotid canal")
    coarse = "not resolvable at this slice thickness"
    foramina = tuple(Foramen(name, side, coarse) for name in names for side in ("left", "right"))  # type: ignore[arg-type]
    plain, listed = (drawn(scan, foramina=found) for found in ((), foramina))
    assert listed.height > plain.height
    assert not (np.asarray(listed)[plain.height - 20 :, -8:].astype(int) > 100).any(), "a line runs off the picture"
    marked = drawn(scan, foramina=(Foramen("x", "", "open", (2.0, -1.0, 1.0), 4.0),))
    red = np.asarray(marked).astype(int)
    rings = (red[..., 0] > 200) & (red[..., 1] < 120) & (red[..., 2] < 120)
    assert rings.sum() > 40
    # The opening is the middle of the ball: in the views from above and below the ring lies on it.
    rows, columns = np.nonzero(rings)
    pixels = np.asarray(plain).astype(int)[rows.min() : rows.max(), columns.min() : columns.max()]
    assert (pixels[..., 0] > 100).any()


def test_contours_lie_on_the_ct(tilted_scan: Scan) -> None:
    """HU sampled at the bone's own points are bone: the cut follows the sheared slices."""
    points = tilted_scan.bone.grid.to_patient(np.argwhere(tilted_scan.bone.level > 0.45).astype(float))
    hu = panels.sample_hu(tilted_scan.volume, points)
    assert np.median(hu) > 1100
    assert np.quantile(hu, 0.05) > 600


def test_the_icon_is_small_and_grey(scan: Scan) -> None:
    picture = preview.icon(scan.bone)
    assert picture.shape == (64, 64)
    assert picture.dtype == np.uint8
    assert np.ptp(picture) > 100


def test_directions_are_the_six_sides() -> None:
    assert len({View.from_side(side) for side in DIRECTIONS}) == 6


def test_the_album_has_a_page_for_every_panel_and_opening_found(tilted_scan: Scan) -> None:
    found = Foramen("foramen ovale", "left", "open", (2.0, -1.0, 1.0), 4.0)
    coarse = Foramen("foramen ovale", "right", "not resolvable at this slice thickness")
    pages = album.pages(panels_of(tilted_scan), tilted_scan.bone, tilted_scan.volume, "skull_base", (coarse, found))
    assert [page.title for page in pages][:6] == [panel.title for panel in panels_of(tilted_scan)][:6]
    assert len(pages) == 6 + 3 + 1
    assert pages[-1].title == "2  Left foramen ovale, calibre 4.0 mm"
    for page in pages:
        assert page.image.dtype == np.uint8
        assert page.image.ndim == 3


def test_a_cut_through_an_opening_has_it_in_the_middle(tilted_scan: Scan) -> None:
    """The ball's middle is put 5 mm off: bone fills the picture's middle, and its ring has the calibre's size."""
    reach_mm = 20.0
    place = Foramen("x", "", "open", tuple(BALL_MM), 10.0)  # type: ignore[arg-type]
    for panel in panels.cuts(tilted_scan.bone, tilted_scan.volume, "skull_base", place, reach_mm, (400, 400)):
        rgb = panel.image.astype(int)
        assert max(panel.image.shape[:2]) <= 400
        red = (rgb[..., 0] > 200) & (rgb[..., 1] < 120) & (rgb[..., 2] < 120)
        rows, _ = np.nonzero(red)
        scale = panel.image.shape[0] / (2 * reach_mm)
        assert np.ptp(rows) == pytest.approx(10 * scale, abs=2)
        assert rows.mean() == pytest.approx(panel.image.shape[0] / 2, abs=2)
        # The ball's contour is a circle about the middle.
        contour = (rgb[..., 0] > rgb[..., 2] + 60) & ~red
        r, c = np.nonzero(contour)
        distance = np.hypot(r - panel.image.shape[0] / 2, c - panel.image.shape[1] / 2) / scale
        assert (np.abs(distance - BALL_RADIUS_MM) < 0.8).sum() > 300
