"""Interpolation by true positions, and resampling through tilted and uneven stacks."""

from __future__ import annotations

import numpy as np
import pytest

from sbnode.inference.geometry import Grid, SliceStack
from sbnode.inference.resampling import interpolation_matrix, resample
from simulator.dicom import axial_stack

SLOPE_HU_PER_MM = np.array([3.0, 5.0, -7.0])


def linear_hu(points_mm: np.ndarray) -> np.ndarray:
    return np.asarray(points_mm @ SLOPE_HU_PER_MM)


def indices(shape: tuple[int, int, int]) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype(np.float64)


def scan_of(stack: SliceStack) -> np.ndarray:
    return np.rint(linear_hu(stack.to_patient(indices(stack.shape)))).astype(np.int16)


def grid_in(stack: SliceStack) -> Grid:
    axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
    middle = stack.to_patient(np.array([[n / 2 for n in stack.shape]]))[0]
    shape = (20, 30, 25)
    return Grid(origin_mm=middle - 0.2 * np.array(shape) @ axes, axes=axes, spacing_mm=0.4, shape=shape)


def test_weights_are_those_of_keys_when_samples_are_even() -> None:
    matrix = interpolation_matrix(np.arange(6.0), np.array([2.5])).toarray()[0]
    assert matrix == pytest.approx([0, -0.0625, 0.5625, 0.5625, -0.0625, 0])


def test_a_line_is_kept_whatever_the_positions() -> None:
    source = np.cumsum(np.random.default_rng(1).uniform(0.2, 2.0, 30))
    target = np.linspace(source[0], source[-1], 200)
    assert interpolation_matrix(source, target) @ source == pytest.approx(target, abs=1e-5)


def test_end_values_are_held() -> None:
    matrix = interpolation_matrix(np.array([0.0, 1.0, 2.0]), np.array([-5.0, 9.0]))
    assert matrix @ np.array([10.0, 20.0, 30.0]) == pytest.approx([10.0, 30.0])


def test_samples_that_do_not_increase_are_refused() -> None:
    with pytest.raises(ValueError, match="increase"):
        interpolation_matrix(np.array([0.0, 0.0]), np.array([0.0]))


@pytest.mark.parametrize("tilt_degrees", [0.0, 18.5, -18.5])
def test_patient_space_is_kept_through_tilt_and_uneven_steps(tilt_degrees: float) -> None:
    positions_mm = np.cumsum(np.random.default_rng(2).uniform(0.7, 1.3, 40)).tolist()
    stack = axial_stack((40, 80, 90), (1.0, 0.5, 0.6), positions_mm=positions_mm, tilt_degrees=tilt_degrees)
    grid = grid_in(stack)
    resampled = resample(scan_of(stack), stack, grid, outside=-1024)
    expected = linear_hu(grid.to_patient(indices(grid.shape)))
    # Rounding to integers happens twice.
    assert np.abs(resampled - expected).max() <= 1.5


def test_cells_beyond_the_scan_are_outside() -> None:
    stack = axial_stack((10, 20, 20), (1.0, 0.5, 0.5))
    grid = Grid.around(np.zeros((1, 3)), stack, spacing_mm=0.4, margin_mm=2.0)
    shifted = Grid(origin_mm=grid.origin_mm + np.array([0, 0, 50]), axes=grid.axes, spacing_mm=0.4, shape=grid.shape)
    assert (resample(scan_of(stack), stack, shifted, outside=-1024) == -1024).all()


def test_a_grid_that_is_not_parallel_is_refused() -> None:
    stack = axial_stack((10, 20, 20), (1.0, 0.5, 0.5), tilt_degrees=10)
    grid = Grid(origin_mm=np.zeros(3), axes=np.eye(3)[::-1], spacing_mm=0.4, shape=(2, 2, 2))
    with pytest.raises(ValueError, match="parallel"):
        resample(scan_of(stack), stack, grid, outside=0)


def test_a_grid_around_points_stays_inside_the_scan() -> None:
    stack = axial_stack((10, 20, 20), (1.0, 0.5, 0.5))
    grid = Grid.around(np.zeros((1, 3)), stack, spacing_mm=0.4, margin_mm=100.0)
    corners = grid.to_patient(np.array([[0.0, 0, 0], np.array(grid.shape) - 1.0]))
    assert np.abs(corners).max() <= 4.75 + 1e-9
    assert grid.to_index(grid.to_patient(np.array([[1.0, 2.0, 3.0]])))[0] == pytest.approx([1, 2, 3])
