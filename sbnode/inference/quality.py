"""How well a scan shows thin bone: its blur and noise, measured on the scan itself, and what to know because of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from sbnode.inference.bone import Bone, Finding
from sbnode.inference.geometry import SliceStack
from sbnode.inference.motion import moved_slices
from sbnode.inference.volume import Volume

__all__ = ["Quality", "flags", "measure", "thinnest_plate_mm"]

Image = NDArray[np.float32]

FWHM_PER_SIGMA = 2.3548
BONE_STEP_HU = 1300.0
"""Solid bone over soft tissue."""
VISIBLE_SHARE = 0.25
"""A plate is called visible when its peak is at least this share of the step of solid bone ..."""
VISIBLE_NOISE = 4.0
"""... and this many times the noise."""
SLICES = 32
"""So many slices are looked at."""
PATCH = 7
"""Pixels on the side of a patch of soft tissue in which noise is measured."""
SOFT_HU = (0.0, 80.0)
QUIET_SHARE = 0.3
"""The noise is that of the patches at this quantile: the ones above it hold structure."""
AIR_HU, SKIN_HU = -850.0, (-200.0, 200.0)
"""An edge between plateaus of air and of soft tissue shows the blur."""
PLATEAU_MM = 2.5
"""Distance of the plateaus from the edge."""
ACROSS = 0.95
"""Cosine of the largest angle between an edge's normal and the line along which it is measured."""
STEEP_SHARE = 0.5
"""The blur is that of the edges at this quantile of steepness: skin that leans into the slice looks more blurred."""
LEAST_COUNT = 200
"""Fewer patches or edges than this measure nothing."""
COARSE_MM = 0.5
SOFT_KERNEL_MM = 1.0
METAL_HU, METAL_ML = 3000, 0.1
CUT_MM2 = 20.0
INFERRED_SHARE = 0.25
MOST_NAMED = 6
"""A flag names no more places than this."""

_SIDES = (("right", "left"), ("front", "back"), ("bottom", "top"))
"""Of the axes x, y and z of the patient: towards smaller and towards larger coordinates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What a scan resolves. ``None`` where the scan shows nothing to measure it on.

    ``fwhm_mm`` is the full width at half maximum of the point spread in the slice plane, ``slice_mm`` that of the slice
    profile (the larger of Slice Thickness and slice step), ``noise_hu`` the standard deviation in soft tissue, and
    ``thinnest_plate_mm`` the thinnest plate of bone that it can show whatever the plate's orientation.
    """

    fwhm_mm: float | None
    slice_mm: float
    noise_hu: float | None
    thinnest_plate_mm: float


def measure(volume: Volume) -> Quality:
    """Measure blur and noise of ``volume``."""
    stack = volume.stack
    step_mm = float(np.median(np.diff(stack.positions_mm))) if len(stack.origins_mm) > 1 else 0.0
    slice_mm = max([step_mm, *(i.slice_thickness_mm for i in volume.instances[:1] if i.slice_thickness_mm)])
    chosen = np.linspace(0, len(volume.hu) - 1, min(SLICES, len(volume.hu))).astype(int)
    images = [volume.hu[k].astype(np.float32) for k in chosen]
    fwhm_mm = _fwhm_mm(images, stack.row_spacing_mm, stack.column_spacing_mm)
    noise_hu = _noise_hu(images)
    blur_mm = max(slice_mm, fwhm_mm or 0.0)
    return Quality(
        fwhm_mm=fwhm_mm,
        slice_mm=slice_mm,
        noise_hu=noise_hu,
        thinnest_plate_mm=thinnest_plate_mm(blur_mm, noise_hu or 0.0),
    )


def thinnest_plate_mm(fwhm_mm: float, noise_hu: float) -> float:
    """Return the thickness t of a plate whose peak is just visible.

    A plate blurred by a Gaussian peaks at erf(t / (2 sqrt(2) sigma)) of the step of solid bone.
    """
    share = min(max(VISIBLE_SHARE, VISIBLE_NOISE * noise_hu / BONE_STEP_HU), 0.99)
    return float(2 * np.sqrt(2) * fwhm_mm / FWHM_PER_SIGMA * special.erfinv(share))


def flags(quality: Quality, volume: Volume, bone: Bone, *, whole: bool = False) -> tuple[Finding, ...]:
    """Return what to look at before ``bone`` is used.

    Args:
        quality: what ``measure`` found on ``volume``.
        volume: the scan.
        bone: what was made of it.
        whole: all bone was wanted, so that it may end where the scan does.
    """
    found = []
    if quality.thinnest_plate_mm > COARSE_MM:
        thinnest = f"bone thinner than {quality.thinnest_plate_mm:.1f} mm may be missed"
        found.append(Finding("coarse_scan", f"{thinnest}, above all in the plane of the slices"))
    if quality.fwhm_mm is not None and quality.fwhm_mm > SOFT_KERNEL_MM:
        message = f"soft kernel: blur of {quality.fwhm_mm:.1f} mm in the slices; a bone kernel shows more"
        found.append(Finding("soft_kernel", message))
    stack = volume.stack
    step_mm = float(np.ptp(stack.positions_mm)) / max(len(volume.hu) - 1, 1)
    voxel_ml = stack.row_spacing_mm * stack.column_spacing_mm * step_mm / 1000
    metal_ml = float(np.count_nonzero(volume.hu >= METAL_HU)) * voxel_ml
    if metal_ml > METAL_ML:
        found.append(Finding("metal", f"{metal_ml:.1f} mL of metal: beware of streaks near it"))
    found += _motion(bone, volume)
    if not whole:
        found += _cut(bone, stack, step_mm)
    if bone.inferred_share > INFERRED_SHARE:
        message = f"{bone.inferred_share:.0%} of the bone is inferred: the scan is too coarse to show it"
        found.append(Finding("mostly_inferred", message))
    return tuple(found)


def _motion(bone: Bone, volume: Volume) -> list[Finding]:
    """Report where the patient may have moved, between the first and the last slice that shows the wanted bone."""
    filled = np.flatnonzero((bone.level > 0).any(axis=(1, 2)))
    if not filled.size:
        return []
    ends_mm = bone.grid.to_patient(np.array([[filled[0], 0, 0], [filled[-1], 0, 0]], np.float64)) @ volume.stack.normal
    first, last = np.searchsorted(volume.stack.positions_mm, ends_mm)
    slices, shift_mm = moved_slices(volume)
    places = [f"z {volume.stack.origins_mm[k, 2]:.1f}" for k in slices if first <= k <= last]
    if not places:
        return []
    where = ", ".join(places[:MOST_NAMED]) + (", ..." if len(places) > MOST_NAMED else "")
    return [Finding("motion", f"the patient may have moved by up to {shift_mm:.1f} mm, at {where} mm")]


def _noise_hu(images: list[Image]) -> float | None:
    """Standard deviation in the quieter patches of soft tissue."""
    deviations = []
    for image in images:
        mean = ndimage.uniform_filter(image, PATCH)[PATCH::PATCH, PATCH::PATCH]
        square = ndimage.uniform_filter(image**2, PATCH)[PATCH::PATCH, PATCH::PATCH]
        soft = (mean > SOFT_HU[0]) & (mean < SOFT_HU[1])
        deviations.append(np.sqrt(np.maximum(square - mean**2, 0)[soft]))
    every = np.concatenate(deviations)
    return float(np.quantile(every, QUIET_SHARE)) if len(every) >= LEAST_COUNT else None


def _fwhm_mm(images: list[Image], row_spacing_mm: float, column_spacing_mm: float) -> float | None:
    """Blur of the edges between air and soft tissue, along rows and columns.

    An edge of step S blurred by a Gaussian is S / (sqrt(2 pi) sigma) steep; the difference of two pixels adds the
    variance of a box of one pixel.
    """
    sigmas = [_sigmas_mm(image, column_spacing_mm, row_spacing_mm) for image in images]
    sigmas += [_sigmas_mm(image.T, row_spacing_mm, column_spacing_mm) for image in images]
    every = np.concatenate(sigmas)
    if len(every) < LEAST_COUNT:
        return None
    return float(FWHM_PER_SIGMA * np.quantile(every, 1 - STEEP_SHARE))


def _sigmas_mm(image: Image, along_mm: float, across_mm: float) -> NDArray[np.float64]:
    """Blur of each edge met along the last axis, whose pixels are ``along_mm`` apart."""
    if min(image.shape) < 2:
        return np.empty(0)
    reach = max(2, round(PLATEAU_MM / along_mm))
    slope = np.zeros_like(image)
    slope[:, :-1] = np.diff(image, axis=1) / np.float32(along_mm)
    sideways = np.gradient(image, axis=0) / np.float32(across_mm)
    steepest = np.abs(slope) >= ndimage.maximum_filter1d(np.abs(slope), 2 * reach + 1, axis=1)
    rows, columns = np.nonzero(
        steepest & (np.abs(slope) * along_mm > 100) & (np.abs(slope) > ACROSS * np.hypot(slope, sideways))
    )
    inside = (columns >= reach + 1) & (columns < image.shape[1] - reach - 2)
    rows, columns = rows[inside], columns[inside]
    before = (image[rows, columns - reach] + image[rows, columns - reach - 1]) / 2
    after = (image[rows, columns + 1 + reach] + image[rows, columns + 2 + reach]) / 2
    air, skin = np.minimum(before, after), np.maximum(before, after)
    good = (air < AIR_HU) & (skin > SKIN_HU[0]) & (skin < SKIN_HU[1])
    ratio = np.abs(slope[rows, columns])[good].astype(np.float64) / (skin - air)[good]
    variance: NDArray[np.float64] = 1 / (2 * np.pi * ratio**2) - along_mm**2 / 12
    return np.sqrt(np.maximum(variance, 0))


def _cut(bone: Bone, stack: SliceStack, step_mm: float) -> list[Finding]:
    """Report the sides on which bone reaches the outermost half voxel of the scan."""
    cells = np.argwhere(bone.level > 0).astype(np.float64)
    index = stack.to_index(bone.grid.to_patient(cells))
    ends = []
    for axis, (direction, spacing_mm) in enumerate(
        (
            (stack.normal, step_mm),
            (stack.column_direction, stack.row_spacing_mm),
            (stack.row_direction, stack.column_spacing_mm),
        )
    ):
        main = int(np.argmax(np.abs(direction)))
        names = _SIDES[main] if direction[main] > 0 else _SIDES[main][::-1]
        last = stack.shape[axis] - 1
        for name, outermost in zip(names, (index[:, axis] < 0.5, index[:, axis] > last - 0.5), strict=True):
            area_mm2 = np.count_nonzero(outermost) * bone.grid.spacing_mm**3 / max(spacing_mm / 2, bone.grid.spacing_mm)
            if area_mm2 > CUT_MM2:
                ends.append(name)
    if not ends:
        return []
    return [Finding("cut", f"the scan ends within the wanted bone: {', '.join(ends)}")]
