"""Slices that make one stack, and slices that must be refused with a number."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sbnode.errors import UnsafeGeometry
from sbnode.inference.stack import Plane, build_stack, read_planes
from sbnode.series import Instance, Series, SeriesKey

MAX_STEP_MM = 5.0


def plane(number: int, position_mm: tuple[float, float, float], tilt_degrees: float = 0.0) -> Plane:
    angle = math.radians(tilt_degrees)
    instance = Instance(
        path=Path(f"{number}.dcm"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"1.2.{number}",
        key=SeriesKey("1.2", "1.3"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        frame_of_reference_uid="1.4",
    )
    return Plane(
        instance=instance,
        frame=1,
        rows=64,
        columns=64,
        pixel_spacing_mm=(0.5, 0.5),
        orientation=(1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle)),
        position_mm=position_mm,
        thickness_mm=1.0,
    )


def axial(positions_mm: list[float], tilt_degrees: float = 0.0) -> tuple[Plane, ...]:
    return tuple(plane(n, (-16.0, -16.0, z), tilt_degrees) for n, z in enumerate(positions_mm, start=1))


def codes(planes: tuple[Plane, ...]) -> set[str]:
    _, _, findings = build_stack(planes, max_slice_step_mm=MAX_STEP_MM)
    return {finding.code for finding in findings}


def test_slices_are_sorted_by_position_and_not_by_number() -> None:
    stack, ordered, findings = build_stack(axial([3.0, 1.0, 2.0, 0.0]), max_slice_step_mm=MAX_STEP_MM)
    assert [p.position_mm[2] for p in ordered] == [0.0, 1.0, 2.0, 3.0]
    assert stack.shape == (4, 64, 64)
    assert findings == ()


@pytest.mark.parametrize("tilt_degrees", [-18.5, 18.5])
def test_tilt_is_a_shear_of_either_sign(tilt_degrees: float) -> None:
    planes = axial([0.0, 1.0, 2.0, 3.0], tilt_degrees)
    stack, ordered, findings = build_stack(planes, max_slice_step_mm=MAX_STEP_MM)
    assert [f.code for f in findings] == ["gantry_tilt"]
    assert "18.5 degrees" in findings[0].message
    assert np.diff(stack.positions_mm) == pytest.approx(math.cos(math.radians(tilt_degrees)))
    middle = stack.to_patient(np.array([[1.5, 0, 0]]))
    assert middle[0] == pytest.approx([-16, -16, 1.5])
    assert len(ordered) == 4


def test_patient_points_map_back_to_their_voxels() -> None:
    stack, _, _ = build_stack(axial([0.0, 1.0, 2.2, 3.2], tilt_degrees=15.0), max_slice_step_mm=MAX_STEP_MM)
    indices = np.random.default_rng(3).uniform(0, 3, (50, 3))
    assert stack.to_index(stack.to_patient(indices)) == pytest.approx(indices)


def test_feet_first_order_gives_the_same_stack() -> None:
    up, _, _ = build_stack(axial([0.0, 1.0, 2.0]), max_slice_step_mm=MAX_STEP_MM)
    down, _, _ = build_stack(axial([2.0, 1.0, 0.0]), max_slice_step_mm=MAX_STEP_MM)
    assert np.array_equal(up.origins_mm, down.origins_mm)


def test_a_missing_slice_is_bridged_and_reported() -> None:
    assert codes(axial([0.0, 1.0, 2.0, 4.0, 5.0, 6.0])) == {"gap"}


def test_uneven_steps_are_reported() -> None:
    assert codes(axial([0.0, 1.0, 2.2, 3.2, 4.2])) == {"uneven_spacing"}


def test_overlapping_slices_are_reported() -> None:
    assert codes(axial([0.0, 0.5, 1.0, 1.5])) == {"overlap"}


def test_mixed_thickness_is_reported() -> None:
    planes = axial([0.0, 1.0, 2.0])
    assert codes((*planes[:2], replace(planes[2], thickness_mm=2.0))) == {"mixed_thickness"}


def test_images_of_another_orientation_are_left_out() -> None:
    planes = axial([0.0, 1.0, 2.0])
    sagittal = replace(planes[0], orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    stack, _, findings = build_stack((*planes, sagittal), max_slice_step_mm=MAX_STEP_MM)
    assert stack.shape[0] == 3
    assert [f.code for f in findings] == ["mixed_geometry"]
    assert "1 of 4" in findings[0].message


@pytest.mark.parametrize(
    ("planes", "said"),
    [
        (axial([0.0, 1.0, 1.0, 2.0]), "2 of 4 slices lie at a position"),
        (axial([0.0, 1.0, 2.0, 6.0, 7.0, 8.0]), "a gap of 4.00 mm"),
        (axial([0.0, 7.0, 14.0]), "7.00 mm apart"),
        (axial([0.0]), "1 slice"),
        (axial([0.0, 1.0, 2.0], tilt_degrees=50.0), "50.0 degrees"),
        ((*axial([0.0, 1.0, 2.0]), plane(9, (4.0, -16.0, 3.0))), "displaced in plane"),
    ],
)
def test_unsafe_stacks_are_refused_with_a_number(planes: tuple[Plane, ...], said: str) -> None:
    with pytest.raises(UnsafeGeometry, match=said):
        build_stack(planes, max_slice_step_mm=MAX_STEP_MM)


def acquired(number: int | None, positions_mm: list[float], first: int) -> tuple[Plane, ...]:
    planes = [plane(n, (-16.0, -16.0, z)) for n, z in enumerate(positions_mm, start=first)]
    return tuple(replace(p, instance=replace(p.instance, acquisition_number=number)) for p in planes)


def test_of_two_volumes_at_one_place_the_first_is_used() -> None:
    positions = [0.0, 1.0, 2.0, 3.0]
    planes = acquired(4, positions, 10) + acquired(3, positions, 1)
    stack, ordered, findings = build_stack(planes, max_slice_step_mm=MAX_STEP_MM)
    assert stack.shape == (4, 64, 64)
    assert {p.instance.acquisition_number for p in ordered} == {3}
    (finding,) = findings
    assert finding.code == "several_volumes"
    assert "acquisition 3 is used, 4 of 8 slices" in finding.message


def test_the_volume_with_more_slices_goes_before_the_first() -> None:
    planes = acquired(1, [0.0, 2.0, 4.0], 1) + acquired(2, [0.0, 1.0, 2.0, 3.0, 4.0], 10)
    _, ordered, _ = build_stack(planes, max_slice_step_mm=MAX_STEP_MM)
    assert {p.instance.acquisition_number for p in ordered} == {2}


@pytest.mark.parametrize(
    "planes",
    [
        # A table that steps, twice: no acquisition is a head.
        acquired(1, [0.0, 1.0], 1)
        + acquired(2, [2.0, 3.0], 3)
        + acquired(3, [0.0, 1.0], 5)
        + acquired(4, [2.0, 3.0], 7),
        acquired(None, [0.0, 1.0, 2.0], 1) + acquired(None, [0.0, 1.0, 2.0], 4),
        acquired(1, [0.0, 1.0, 2.0], 1) + acquired(None, [0.0, 1.0, 2.0], 4),
        acquired(1, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0], 1),
        # Half a head again.
        acquired(1, [0.0, 1.0, 2.0, 3.0, 3.0], 1) + acquired(2, [2.0, 3.0], 6),
    ],
)
def test_phases_that_nothing_tells_apart_are_refused(planes: tuple[Plane, ...]) -> None:
    with pytest.raises(UnsafeGeometry, match="at a position that another one holds"):
        build_stack(planes, max_slice_step_mm=MAX_STEP_MM)


def test_a_table_that_steps_once_is_one_volume() -> None:
    planes = acquired(1, [0.0, 1.0], 1) + acquired(2, [2.0, 3.0], 3)
    stack, _, findings = build_stack(planes, max_slice_step_mm=MAX_STEP_MM)
    assert stack.shape == (4, 64, 64)
    assert findings == ()


def test_two_frames_of_reference_are_refused() -> None:
    planes = axial([0.0, 1.0, 2.0])
    other = replace(planes[2], instance=replace(planes[2].instance, frame_of_reference_uid="1.5"))
    with pytest.raises(UnsafeGeometry, match="2 different Frames of Reference"):
        build_stack((*planes[:2], other), max_slice_step_mm=MAX_STEP_MM)


def test_orientation_that_is_no_pair_of_unit_vectors_is_refused() -> None:
    planes = tuple(replace(p, orientation=(1.0, 0.0, 0.0, 0.5, 0.5, 0.0)) for p in axial([0.0, 1.0]))
    with pytest.raises(UnsafeGeometry, match="perpendicular"):
        build_stack(planes, max_slice_step_mm=MAX_STEP_MM)


def test_a_stack_larger_than_memory_is_refused() -> None:
    planes = tuple(replace(p, rows=60000, columns=60000) for p in axial([0.0, 1.0]))
    with pytest.raises(UnsafeGeometry, match="7200000000 voxels"):
        build_stack(planes, max_slice_step_mm=MAX_STEP_MM)


def test_an_image_without_position_is_refused_by_name() -> None:
    instance = replace(plane(1, (0.0, 0.0, 0.0)).instance, rows=64, columns=64, pixel_spacing_mm=(0.5, 0.5))
    with pytest.raises(UnsafeGeometry, match=r"Image Position \(Patient\)"):
        read_planes(Series(instance.key, (instance,)))
