"""A skull base of simple shapes, turned at random: a plate with a foramen magnum, a clivus, and tubes for openings."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sbnode.inference.bone import Bone
from sbnode.inference.foramina import SITES, find_foramina
from sbnode.inference.geometry import Grid
from sbnode.inference.quality import Quality
from sbnode.inference.region import RegionMap
from sbnode.inference.skull_frame import SkullFrame, find_frame
from simulator.dicom import axial_stack

BASION_MM = np.array([11.0, -24.0, 35.0])
LENGTH_MM, WIDTH_MM = 35.0, 29.0
LOW_MM, HIGH_MM = np.array([-58.0, -58.0, -16.0]), np.array([58.0, 62.0, 44.0])
"""The box about the basion that holds the phantom: left, back, up."""
WALL_MM = 2.5
COARSE = "not resolvable at this slice thickness"


def turned(yaw: float, roll: float, pitch: float) -> NDArray[np.float64]:
    """Rows: where left, back and up of the skull point in the patient, for angles in degrees."""
    matrix = np.eye(3)
    for axis, degrees in ((2, yaw), (1, roll), (0, pitch)):
        i, j = [k for k in range(3) if k != axis]
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = c
        turn[i, j], turn[j, i] = -s, s
        matrix = matrix @ turn
    return matrix


AXES = turned(7.0, -5.0, 12.0)
TRUE_FRAME = SkullFrame(BASION_MM, AXES, LENGTH_MM)


def radius_mm(name: str) -> float:
    site = next(site for site in SITES if site.name == name)
    return (site.radius_mm[0] + site.radius_mm[1]) / 2


def depth_mm(skull: NDArray[np.float64], shut: tuple[str, str] | None) -> NDArray[np.float64]:
    """How deep points (..., 3), mm to the left, back and up from the basion, lie in bone; negative outside."""
    x, y, z = np.moveaxis(skull, -1, 0)
    around = np.hypot(x / (WIDTH_MM / 2), (y - LENGTH_MM / 2) / (LENGTH_MM / 2)) - 1
    plate = np.minimum(np.minimum(around * WIDTH_MM / 2, 55 - np.hypot(x, y - 15)), np.minimum(z + 3, 1.5 - z))
    across = np.abs(y + 0.7 * z + 2.5) / np.hypot(1, 0.7)
    clivus = np.minimum(np.minimum(3 - across, 12 - np.abs(x)), np.minimum(z, 38 - z))
    bone, hole = np.maximum(plate, clivus), np.full(x.shape, -np.inf)
    for site in SITES:
        for side, sign in (("left", 1.0), ("right", -1.0)):
            mirror = np.array([sign, 1.0, 1.0])
            axis = np.array(site.axis) * mirror / np.linalg.norm(site.axis)
            along = (skull - np.array(site.place_mm) * mirror) @ axis
            away = np.linalg.norm(skull - np.array(site.place_mm) * mirror - along[..., None] * axis, axis=-1)
            r = radius_mm(site.name)
            wall = np.minimum(r + WALL_MM - away, 2.5 - np.abs(along))
            bone = np.maximum(bone, wall)
            if (site.name, side) != shut:
                hole = np.maximum(hole, np.minimum(r - away, 9 - np.abs(along)))
    return np.minimum(bone, -hole)


def phantom(shut: tuple[str, str] | None = None) -> Bone:
    spacing_mm = 0.6
    shape = tuple(int(n) for n in (HIGH_MM - LOW_MM)[::-1] / spacing_mm)
    grid = Grid(
        origin_mm=BASION_MM + LOW_MM @ AXES,
        axes=AXES[::-1],
        spacing_mm=spacing_mm,
        shape=(shape[0], shape[1], shape[2]),
    )
    skull = LOW_MM + spacing_mm * np.stack(np.indices(shape[::-1], dtype=np.float64), axis=-1).transpose(2, 1, 0, 3)
    level = np.clip(depth_mm(skull, shut), -0.5, 0.5).astype(np.float32)
    nothing = np.zeros(level.shape, bool)
    return Bone(grid=grid, level=level, inferred=nothing, canal=nothing, plate=nothing)


def rough_region(bone: Bone) -> RegionMap:
    """Places that are 9 mm off and turned by 8 degrees."""
    cell_mm = 3.0
    low = bone.grid.to_patient(np.array([[0, 0, 0], np.array(bone.grid.shape) - 1], np.float64)).min(axis=0) - 25
    grid = Grid(origin_mm=low, axes=np.eye(3)[::-1], spacing_mm=cell_mm, shape=(50, 60, 60))
    points = grid.to_patient(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))
    index = np.rint(bone.grid.to_index(points)).astype(int)
    within = np.all((index >= 0) & (index < np.array(bone.grid.shape)), axis=-1)
    index = np.clip(index, 0, np.array(bone.grid.shape) - 1)
    inside = within & (bone.level[tuple(np.moveaxis(index, -1, 0))] > 0)
    place = (points - BASION_MM) @ (turned(-6.0, 5.0, 0.0) @ AXES).T + np.array([4.0, -4.0, -40.0])
    return RegionMap(
        grid=grid,
        inside=inside.astype(np.float32),
        bones=np.zeros((7, *grid.shape), np.float32),
        place_mm=np.moveaxis(place, -1, 0).astype(np.float32),
        bone_ml=100.0,
        confidence=0.9,
        found=True,
    )


def quality(slice_mm: float, fwhm_mm: float | None = None) -> Quality:
    return Quality(fwhm_mm=fwhm_mm, slice_mm=slice_mm, noise_hu=None, thinnest_plate_mm=0.3)


def volume(right_hu: int = 40) -> Any:
    """A scan about the phantom in patient axes, of soft tissue; other HU on the right of the skull."""
    stack = axial_stack((80, 70, 70), (2.0, 2.0, 2.0), centre_mm=tuple(BASION_MM.tolist()))
    points = stack.to_patient(np.moveaxis(np.indices(stack.shape, dtype=np.float64), 0, -1))
    hu = np.where((points - BASION_MM) @ AXES[0] < 0, right_hu, 40).astype(np.int16)
    return SimpleNamespace(stack=stack, hu=hu)


@pytest.fixture(scope="module")
def whole() -> Bone:
    return phantom()


def test_the_frame_is_found_from_a_rough_start(whole: Bone) -> None:
    frame = find_frame(whole, rough_region(whole))
    assert frame is not None
    assert np.linalg.norm(frame.origin_mm - BASION_MM) < 2.5
    assert frame.length_mm == pytest.approx(LENGTH_MM, abs=1.5)
    angles = np.degrees(np.arccos(np.clip((frame.axes * AXES).sum(axis=1), -1, 1)))
    assert angles.max() < 4


def test_without_a_foramen_magnum_there_is_no_frame(whole: Bone) -> None:
    index = np.indices(whole.level.shape, dtype=np.float32)[0]
    above = replace(whole, level=np.where(index * 0.6 + LOW_MM[2] > 3, whole.level, np.float32(-0.5)))
    assert find_frame(above, rough_region(whole)) is None


def test_places_that_are_no_head_give_no_frame(whole: Bone) -> None:
    region = rough_region(whole)
    assert find_frame(whole, replace(region, place_mm=np.ones_like(region.place_mm))) is None
    nothing = replace(whole, level=np.full_like(whole.level, -0.5))
    assert find_frame(nothing, region) is None
    mirrored = region.place_mm * np.array([-1.0, 1.0, 1.0], np.float32).reshape(3, 1, 1, 1)
    assert find_frame(whole, replace(region, place_mm=mirrored)) is None


def test_every_opening_is_found_with_its_side_place_and_calibre(whole: Bone) -> None:
    magnum, *found = find_foramina(whole, TRUE_FRAME, volume(), quality(0.7))
    assert (magnum.name, magnum.side) == ("foramen magnum", "")
    assert magnum.calibre_mm == pytest.approx(WIDTH_MM, abs=1.0)
    assert [(f.name, f.side) for f in found] == [(s.name, side) for s in SITES for side in ("left", "right")]
    for foramen in found:
        site = next(site for site in SITES if site.name == foramen.name)
        mirror = np.array([1.0 if foramen.side == "left" else -1.0, 1.0, 1.0])
        assert foramen.state == "open"
        assert foramen.place_mm is not None
        assert np.linalg.norm(np.array(foramen.place_mm) - TRUE_FRAME.to_patient(np.array(site.place_mm) * mirror)) < 4
        assert foramen.calibre_mm == pytest.approx(2 * radius_mm(foramen.name), abs=0.9), foramen


def test_a_shut_opening_is_not_mentioned_and_a_small_one_of_a_coarse_scan_is_called_so() -> None:
    bone = phantom(shut=("foramen rotundum", "right"))
    fine = [(f.name, f.side) for f in find_foramina(bone, TRUE_FRAME, volume(), quality(0.7))]
    assert ("foramen rotundum", "left") in fine
    assert ("foramen rotundum", "right") not in fine
    coarse = {(f.name, f.side): f for f in find_foramina(bone, TRUE_FRAME, volume(), quality(1.6))}
    assert coarse["foramen rotundum", "right"].state == COARSE
    assert coarse["foramen rotundum", "right"].place_mm is None
    assert coarse["foramen rotundum", "left"].state == "open"


def test_an_air_cell_is_no_opening(whole: Bone) -> None:
    found = find_foramina(whole, TRUE_FRAME, volume(right_hu=-900), quality(0.7))
    assert {f.side for f in found} == {"", "left"}
    assert len(found) == 1 + len(SITES)


def test_what_is_narrower_than_the_blur_does_not_count(whole: Bone) -> None:
    states = {f.name: f.state for f in find_foramina(whole, TRUE_FRAME, volume(), quality(5.0))}
    assert states["foramen rotundum"] == COARSE
    assert states["jugular foramen"] == "open"
    blurred = {f.name: f.state for f in find_foramina(whole, TRUE_FRAME, volume(), quality(0.7, fwhm_mm=5.0))}
    assert "foramen rotundum" not in blurred, "the slices are not to blame"
    assert blurred["jugular foramen"] == "open"


def test_a_place_outside_the_scan_is_not_mentioned() -> None:
    bone = phantom(shut=("foramen rotundum", "right"))
    up = np.indices(bone.level.shape)[0] * bone.grid.spacing_mm + LOW_MM[2]
    kept = int(np.count_nonzero(up[:, 0, 0] < 24))
    nothing = np.zeros((kept, *bone.level.shape[1:]), bool)
    grid = replace(bone.grid, shape=(kept, *bone.grid.shape[1:]))
    cut = Bone(grid=grid, level=bone.level[:kept], inferred=nothing, canal=nothing, plate=nothing)
    names = {(f.name, f.side) for f in find_foramina(cut, TRUE_FRAME, volume(), quality(1.6))}
    assert ("foramen rotundum", "right") not in names


def test_a_frame_at_the_wrong_place_gives_nothing(whole: Bone) -> None:
    wrong = replace(TRUE_FRAME, origin_mm=BASION_MM + 30 * AXES[1])
    assert find_foramina(whole, wrong, volume(), quality(0.7)) == ()
