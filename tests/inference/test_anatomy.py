"""Named bones: their volumes and the patient's sides, whatever the orientation of the slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sbnode.inference.anatomy import named_bones
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.inference.region import BONES, RegionMap

PATIENT_AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
COARSE = Grid(origin_mm=np.full(3, -42.0), axes=PATIENT_AXES, spacing_mm=3.0, shape=(29, 29, 29))


def region(name: str, probability: float) -> RegionMap:
    """One bone everywhere, the middle of the atlas at the origin."""
    points = COARSE.to_patient(np.moveaxis(np.indices(COARSE.shape).astype(float), 0, -1))
    bones = np.full((len(BONES), *COARSE.shape), (1 - probability) / (len(BONES) - 1), np.float32)
    bones[BONES.index(name)] = probability
    return RegionMap(
        grid=COARSE,
        inside=np.ones(COARSE.shape, np.float32),
        bones=bones,
        place_mm=np.moveaxis(points, -1, 0).astype(np.float32),
        bone_ml=1.0,
        confidence=0.9,
        found=True,
    )


def block(turned: bool, low_mm: float = -20.0, high_mm: float = 4.0) -> Bone:
    """Bone between two x, 20 mm high and deep; ``turned``: the slices run down and the columns to the right."""
    return bone_where(turned, lambda x: (x > low_mm) & (x < high_mm))


def pair(turned: bool = False) -> Bone:
    """Bone on both sides, from 30 mm to 39 mm off the middle."""
    return bone_where(turned, lambda x: (abs(x) > 30) & (abs(x) < 39))


def bone_where(turned: bool, chosen: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> Bone:
    axes = PATIENT_AXES * ([[-1.0], [1.0], [-1.0]] if turned else 1.0)
    origin = np.array([39.6, -39.6, 39.6]) if turned else np.full(3, -39.6)
    grid = Grid(origin_mm=origin, axes=axes, spacing_mm=0.8, shape=(100, 100, 100))
    x, y, z = np.moveaxis(grid.to_patient(np.moveaxis(np.indices(grid.shape).astype(float), 0, -1)), -1, 0)
    level = np.where(chosen(x) & (abs(y) < 10) & (abs(z) < 10), 0.5, -0.5).astype(np.float32)
    nothing = np.zeros(grid.shape, np.bool_)
    return Bone(grid=grid, level=level, inferred=nothing, canal=nothing, plate=nothing)


@pytest.mark.parametrize("turned", [False, True])
def test_the_sides_are_the_patients(turned: bool) -> None:
    left, right = named_bones(pair(turned), region("temporal", 0.9))
    assert (left.name, left.side, right.name, right.side) == ("temporal bone", "left", "temporal bone", "right")
    assert left.volume_ml == pytest.approx(9 * 20 * 20 / 1000, rel=0.2)
    assert right.volume_ml == pytest.approx(left.volume_ml, rel=0.2)


def test_a_side_that_is_not_sure_is_left_open() -> None:
    """A bone in one piece across the middle is no pair."""
    (only,) = named_bones(block(False, low_mm=-9.0, high_mm=9.0), region("temporal", 0.9))
    assert only.side == ""


def test_one_ear_alone_has_one_side() -> None:
    (only,) = named_bones(block(False, low_mm=-24.0, high_mm=-2.0), region("temporal", 0.9))
    assert only.side == "right"


def test_a_map_that_takes_left_for_right_names_no_side() -> None:
    swapped = region("temporal", 0.9)
    swapped = replace(swapped, place_mm=-swapped.place_mm)
    (only,) = named_bones(pair(), swapped)
    assert only.side == ""


def test_an_unpaired_bone_has_no_side() -> None:
    (sphenoid,) = named_bones(block(False), region("sphenoid", 0.9))
    assert (sphenoid.side, sphenoid.probability) == ("", 0.9)


def test_nothing_is_named_without_being_sure_of_it() -> None:
    assert named_bones(block(False), region("sphenoid", 0.5)) == ()
    assert named_bones(block(False), region("other", 0.9)) == ()
