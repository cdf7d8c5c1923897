"""Gaps between slices, found from positions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sbnode.scp.continuity import Slice, is_continuous
from sbnode.series import Instance, SeriesKey

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TILT = math.radians(20)
TILTED = (1.0, 0.0, 0.0, 0.0, math.cos(TILT), -math.sin(TILT))
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def at(
    position_mm: tuple[float, float, float] | None,
    orientation: tuple[float, ...] | None = AXIAL,
    number: int = 1,
    frames: int = 1,
) -> Slice:
    return Slice.of(
        Instance(
            path=Path(),
            sop_class_uid="1.2",
            sop_instance_uid="1.2",
            key=SeriesKey("1.2", "1.2"),
            transfer_syntax_uid="1.2",
            instance_number=number,
            number_of_frames=frames,
            orientation=orientation,
            position_mm=position_mm,
        )
    )


def stack(*offsets_mm: float, orientation: tuple[float, ...] = AXIAL) -> list[Slice]:
    return [at((3, 4, z), orientation, number) for number, z in enumerate(offsets_mm, 1)]


@pytest.mark.parametrize(
    ("offsets_mm", "expected"),
    [
        ((), False),
        ((0,), False),
        ((0, 1), False),
        ((0, 1, 2), True),
        ((2, 0, 1), True),
        ((0, -0.6, -1.2, -1.8), True),
        ((0, 1, 2, 4, 5), False),
        ((0, 1, 2, 3.5, 4.5), True),
        ((0, 1, 2, 3.51, 4.5), False),
        ((0, 2.5, 5, 7.5, 12.5, 17.5), False),
        ((0, 0, 1, 1, 2, 2), True),
        ((0, 0, 0, 0), False),
        ((0, 1, float("nan")), False),
    ],
)
def test_a_gap_is_a_step_above_one_and_a_half_medians(offsets_mm: tuple[float, ...], expected: bool) -> None:
    assert is_continuous(stack(*offsets_mm)) is expected


def test_consecutive_instance_numbers_hide_no_gap() -> None:
    slices = [at((0, 0, z), TILTED, number) for number, z in enumerate((0, 1, 2, 3, 6, 7), 1)]
    assert not is_continuous(slices)


def test_a_tilted_stack_is_measured_along_its_normal() -> None:
    """The table moves along z, so y never changes; what counts is the distance between the planes."""
    assert is_continuous([at((0, 0, 1.25 * k), TILTED) for k in range(10)])
    assert not is_continuous([at((0, 0, 1.25 * k), TILTED) for k in range(10) if k != 5])


def test_slices_that_only_move_within_their_plane_are_no_stack() -> None:
    assert not is_continuous([at((float(k), 0, 0)) for k in range(10)])


def test_a_localizer_beside_the_slices_says_nothing() -> None:
    assert is_continuous([*stack(0, 1, 2, 3), at((0, 0, 0), SAGITTAL)])


def test_each_larger_stack_must_be_without_gap() -> None:
    sagittal = [at((x, 0, 0), SAGITTAL) for x in (0.0, 1.0, 2.0, 4.0)]
    assert not is_continuous([*stack(0, 1, 2, 3), *sagittal])
    assert is_continuous([*stack(0, 1, 2, 3), *sagittal[:3]])


@pytest.mark.parametrize("unknown", [at(None), at((0, 0, 9), None)])
def test_a_slice_without_position_or_orientation_is_no_evidence(unknown: Slice) -> None:
    assert not is_continuous([*stack(0, 1, 2, 3), unknown])


def test_an_enhanced_image_is_a_stack_of_its_own() -> None:
    assert is_continuous([at((0, 0, 0), frames=200)])
    assert not is_continuous([at((0, 0, 0), frames=2)])
    assert not is_continuous([at((0, 0, 0), frames=200), *stack(0, 1, 2, 9)])
