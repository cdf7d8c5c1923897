"""Motion is seen where slices were shifted, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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
    assert np.nanmax(shifts_mm(still)) < 0.3


def test_a_patient_who_moved_once_shifts_the_slices_on_both_sides(still: Volume) -> None:
    hu = still.hu.copy()
    hu[14:] = np.roll(hu[14:], 5, axis=1)
    slices, shift_mm = moved_slices(replace(still, hu=hu))
    assert slices == (14, 15)
    assert shift_mm == pytest.approx(5 * PIXEL_MM / 2, abs=0.4)


def test_a_jerk_is_seen(still: Volume) -> None:
    hu = still.hu.copy()
    hu[14] = np.roll(hu[14], -4, axis=1)
    slices, shift_mm = moved_slices(replace(still, hu=hu))
    assert 15 in slices
    assert shift_mm == pytest.approx(4 * PIXEL_MM, abs=0.5)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_slices_say_nothing(still: Volume, count: int) -> None:
    stack = replace(still.stack, origins_mm=still.stack.origins_mm[:count])
    assert moved_slices(replace(still, hu=still.hu[:count], stack=stack)) == ((), 0.0)
    assert shifts_mm(replace(still, hu=still.hu[:count], stack=stack)).size == 0


def test_an_empty_scan_says_nothing(still: Volume) -> None:
    assert moved_slices(replace(still, hu=np.full_like(still.hu, -1000))) == ((), 0.0)
