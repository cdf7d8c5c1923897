"""Motion is seen where slices were shifted, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from sbnode.inference.motion import moved_slices, shifts_mm
from sbnode.inference.volume import Volume
from simulator.head import simulate_head

PIXEL_MM = 0.6


@pytest.fixture(scope="module", params=[30.0, 120.0], ids=["quiet", "noisy"])
def still(request: pytest.FixtureRequest) -> Volume:
    head = simulate_head(slices=30, rows=320, spacing_mm=(1.0, PIXEL_MM, PIXEL_MM), noise_hu=request.param)
    return Volume(hu=head.hu, stack=head.stack, instances=(), frames=())


def test_a_still_head_shows_none(still: Volume) -> None:
    assert moved_slices(still) == ((), 0.0)
    assert np.nanmax(np.abs(shifts_mm(still))) < 0.3


@pytest.mark.parametrize("pixels", [2, 5, 16, 25])
def test_a_patient_who_moved_once_is_seen_with_the_size_of_the_move(still: Volume, pixels: int) -> None:
    hu = still.hu.copy()
    hu[14:] = np.roll(hu[14:], pixels, axis=1)
    slices, shift_mm = moved_slices(replace(still, hu=hu))
    assert slices == (14,)
    assert shift_mm == pytest.approx(pixels * PIXEL_MM, abs=0.3)
    assert shifts_mm(replace(still, hu=hu))[13] == pytest.approx([pixels * PIXEL_MM, 0], abs=0.3)


def test_a_jerk_is_seen_on_both_sides(still: Volume) -> None:
    hu = still.hu.copy()
    hu[14] = np.roll(hu[14], -4, axis=1)
    slices, shift_mm = moved_slices(replace(still, hu=hu))
    assert slices == (14, 15)
    assert shift_mm == pytest.approx(4 * PIXEL_MM, abs=0.3)


def test_a_stack_that_leans_against_the_head_shows_none_and_a_move_in_it_is_seen(still: Volume) -> None:
    leaning = np.stack([np.roll(image, 2 * k, axis=0) for k, image in enumerate(still.hu)])
    assert moved_slices(replace(still, hu=leaning)) == ((), 0.0)
    leaning[14:] = np.roll(leaning[14:], 5, axis=2)
    slices, shift_mm = moved_slices(replace(still, hu=leaning))
    assert slices == (14,)
    assert shift_mm == pytest.approx(5 * PIXEL_MM, abs=0.3)


def test_slices_that_look_different_say_nothing(still: Volume) -> None:
    random = np.random.default_rng(1)
    texture = ndimage.gaussian_filter(random.normal(size=(30, 320, 320)), (0, 4, 4)) * 8000
    assert moved_slices(replace(still, hu=texture.astype(np.int16))) == ((), 0.0)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_slices_say_nothing(still: Volume, count: int) -> None:
    stack = replace(still.stack, origins_mm=still.stack.origins_mm[:count])
    few = replace(still, hu=still.hu[:count], stack=stack)
    assert moved_slices(few) == ((), 0.0)
    assert shifts_mm(few).shape == (count - 1, 2)


@pytest.mark.parametrize("rows", [1, 2, 320])
def test_an_empty_scan_says_nothing(still: Volume, rows: int) -> None:
    stack = replace(still.stack, rows=rows)
    assert moved_slices(replace(still, hu=np.full_like(still.hu[:, :rows], -1000), stack=stack)) == ((), 0.0)
