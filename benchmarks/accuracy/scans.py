"""The acquisitions of the benchmark, and a scan with its place in the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.accuracy.phantom import STEP_MM, FloatArray
from sbnode.inference.geometry import SliceStack
from sbnode.inference.volume import Volume
from simulator import ct


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A named scanner setting; spacing is (slice step, pixel)."""

    name: str
    label: str
    pixel_mm: float = 0.0
    slice_mm: float = 0.0
    fwhm_mm: float = 0.0
    noise_hu: float = 0.0
    overshoot: float = 0.0

    @property
    def title(self) -> str:
        """As the tables have it."""
        return f"{self.name}: {self.label}"

    @property
    def reach_mm(self) -> float:
        """How far along its normal a plate may be found."""
        return max(0.3, 0.5 * max(self.slice_mm, self.pixel_mm))


PROTOCOLS = (
    Protocol(
        name="thin",
        label="0.4 x 0.4 x 0.6 mm, FWHM 0.70 mm, noise 40 HU",
        pixel_mm=0.4,
        slice_mm=0.6,
        fwhm_mm=0.7,
        noise_hu=40.0,
    ),
    Protocol(
        name="standard",
        label="0.5 x 0.5 x 1.25 mm, FWHM 0.85 mm, noise 25 HU",
        pixel_mm=0.5,
        slice_mm=1.25,
        fwhm_mm=0.85,
        noise_hu=25.0,
    ),
    Protocol(
        name="sharp",
        label="0.4 x 0.4 x 0.6 mm, FWHM 0.50 mm, overshoot 0.3, noise 150 HU",
        pixel_mm=0.4,
        slice_mm=0.6,
        fwhm_mm=0.5,
        noise_hu=150.0,
        overshoot=0.3,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """Samples on a regular grid of the scene, (slice, row, column).

    `origin_mm` is the centre of the first cell. Between samples it is linear, or, `stepped`, that of the nearest: so
    does one read a mask.
    """

    values: FloatArray
    origin_mm: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    stepped: bool = False


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A stored scan of a test object."""

    protocol: Protocol
    field: Field

    def volume(self) -> Volume:
        """The scan as the node reads it; scene (slice, row, column) are patient z, y and x."""
        hu = np.rint(self.field.values).astype(np.int16)
        z, y, x = self.field.origin_mm
        count = hu.shape[0]
        origins = np.column_stack(
            [np.full(count, x), np.full(count, y), z + np.arange(count) * self.field.spacing_mm[0]]
        )
        stack = SliceStack(
            origins_mm=origins,
            row_direction=np.array([1.0, 0.0, 0.0]),
            column_direction=np.array([0.0, 1.0, 0.0]),
            row_spacing_mm=float(self.field.spacing_mm[1]),
            column_spacing_mm=float(self.field.spacing_mm[2]),
            rows=hu.shape[1],
            columns=hu.shape[2],
        )
        return Volume(hu=hu, stack=stack, instances=(), frames=())


def acquire(scene_hu: FloatArray, protocol: Protocol, seed: int | tuple[int, ...]) -> Scan:
    """Scan a test object at a random phase."""
    random = np.random.default_rng((*((seed,) if isinstance(seed, int) else seed), 77))
    phase = (random.uniform(), random.uniform(), random.uniform())
    acquisition = ct.Acquisition(
        fwhm_mm=protocol.fwhm_mm,
        overshoot=protocol.overshoot,
        slice_thickness_mm=protocol.slice_mm,
        slice_step_mm=protocol.slice_mm,
        pixel_mm=protocol.pixel_mm,
        noise_hu=protocol.noise_hu,
        phase=phase,
    )
    stored = ct.scan(scene_hu, STEP_MM, acquisition, random)
    spacing = np.array(acquisition.spacing_mm)
    field = Field(values=stored.astype(np.float32), origin_mm=np.array(phase) * spacing, spacing_mm=spacing)
    return Scan(protocol=protocol, field=field)


def at_points(field: Field, points_mm: NDArray[Any]) -> NDArray[np.float64]:
    """Values of a field at points (..., 3), held beyond the border."""
    index = (points_mm - field.origin_mm) / field.spacing_mm
    moved = np.moveaxis(index, -1, 0)
    sampled: NDArray[np.float64] = ndimage.map_coordinates(
        field.values, moved, output=np.float64, order=0 if field.stepped else 1, mode="nearest"
    )
    return sampled
