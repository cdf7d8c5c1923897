"""The planes of a series, and whether they make one stack.

Tilt, spacing and order are computed from orientation and position alone: the sign of Gantry/Detector Tilt
(0018,1120) means different things to different makers, and Spacing Between Slices is often wrong or absent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sbnode.errors import UnsafeGeometry
from sbnode.inference.bone import Finding
from sbnode.inference.geometry import SliceStack
from sbnode.series import Instance, Series

__all__ = ["Plane", "build_stack", "read_planes"]

SAME_DIRECTION = 1e-3
"""Cosines of one stack agree within this: 0.06 degrees, 0.1 mm over 100 mm."""
SAME_LENGTH_MM = 1e-3
"""Pixel spacings and thicknesses of one stack agree within this."""
SAME_POSITION_MM = 0.01
"""Slices closer than this lie at one position: a hundredth of the thinnest slice that scanners reconstruct."""
UNEVEN_SHARE = 0.05
"""Steps that differ from their median by more than this share are reported as uneven."""
WHOLE_SHARE = 0.95
"""An acquisition that reaches over this share of a series' length is a volume of its own."""
GAP_STEPS = 1.5
"""A step of more than this many median steps is a gap: at least one slice is missing."""
MAX_GAP_STEPS = 3.5
"""A gap wider than this is refused: more than two neighbouring slices would have to be invented."""
TILT_DEGREES = 0.5
"""Less slant of the slice step against the normal than this is rounding, not tilt."""
MAX_TILT_DEGREES = 45.0
"""Gantries tilt by 30 degrees at most; more means that positions and orientation contradict each other."""
MAX_VOXELS = 1_500_000_000
"""A stack larger than this (5,700 slices of 512 x 512) would exhaust the memory; no head CT comes near."""
MAX_SLANT_SPREAD_MM = 2.0
"""In-plane, slices may stray from the straight line through them by this much before they count as displaced."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One slice: where it lies and which frame of which instance holds its pixels. Lengths mm, directions LPS."""

    instance: Instance
    frame: int
    """Frame number, counted from 1; 1 for a single-frame image."""
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    orientation: tuple[float, ...]
    position_mm: tuple[float, float, float]
    thickness_mm: float | None


def read_planes(series: Series) -> tuple[Plane, ...]:
    """Return the planes of every image of ``series``; localizers are left out.

    Raises:
        UnsafeGeometry: an image lacks its matrix size, pixel spacing, orientation or position.
    """
    planes: list[Plane] = []
    for instance in series.instances:
        if "LOCALIZER" in instance.image_type:
            continue
        if instance.number_of_frames > 1:
            planes.extend(_frames(instance))
        else:
            planes.append(_single(instance))
    return tuple(planes)


def build_stack(
    planes: tuple[Plane, ...], *, max_slice_step_mm: float
) -> tuple[SliceStack, tuple[Plane, ...], tuple[Finding, ...]]:
    """Sort ``planes`` along their normal into one stack; of several volumes at one place, told apart by Acquisition
    Number (0020,0012), the largest or else the first is taken.

    Returns:
        The stack, its planes in the order of the stack, and what was odd.

    Raises:
        UnsafeGeometry: fewer than two planes, planes of several Frames of Reference, several slices at one position,
            a step or gap that is too wide, or slices displaced against each other. The message holds the number.
    """
    kept, findings = _largest_group(planes)
    kept, several = _one_volume(kept)
    findings += several
    if len(kept) < 2:
        raise UnsafeGeometry(f"{len(kept)} slice(s) with one geometry: at least 2 are needed to make a volume")
    voxels = len(kept) * kept[0].rows * kept[0].columns
    if voxels > MAX_VOXELS:
        raise UnsafeGeometry(f"the stack has {voxels} voxels; more than {MAX_VOXELS} are not read")
    frames_of_reference = {plane.instance.frame_of_reference_uid for plane in kept}
    if len(frames_of_reference) > 1:
        raise UnsafeGeometry(f"the slices lie in {len(frames_of_reference)} different Frames of Reference")
    row, column = _directions(kept[0])
    normal = np.cross(row, column)
    ordered = tuple(sorted(kept, key=lambda plane: float(np.dot(plane.position_mm, normal))))
    origins = np.array([plane.position_mm for plane in ordered])
    findings += _check_steps(origins @ normal, max_slice_step_mm)
    findings += _check_slant(origins, normal)
    findings += _check_thickness(ordered, float(np.median(np.linalg.norm(np.diff(origins, axis=0), axis=1))))
    stack = SliceStack(
        origins_mm=origins,
        row_direction=row,
        column_direction=column,
        row_spacing_mm=kept[0].pixel_spacing_mm[0],
        column_spacing_mm=kept[0].pixel_spacing_mm[1],
        rows=kept[0].rows,
        columns=kept[0].columns,
    )
    return stack, ordered, tuple(findings)


def _single(instance: Instance) -> Plane:
    rows, columns, spacing_mm = instance.rows, instance.columns, instance.pixel_spacing_mm
    orientation, position_mm = instance.orientation, instance.position_mm
    if rows is None or columns is None or spacing_mm is None or orientation is None or position_mm is None:
        facts = {
            "Rows": rows,
            "Columns": columns,
            "Pixel Spacing": spacing_mm,
            "Image Orientation (Patient)": orientation,
            "Image Position (Patient)": position_mm,
        }
        raise UnsafeGeometry(f"an image lacks {', '.join(name for name, value in facts.items() if value is None)}")
    return Plane(
        instance=instance,
        frame=1,
        rows=rows,
        columns=columns,
        pixel_spacing_mm=spacing_mm,
        orientation=orientation,
        position_mm=position_mm,
        thickness_mm=instance.slice_thickness_mm,
    )


def _frames(instance: Instance) -> list[Plane]:
    """The planes of an enhanced multi-frame image (PS3.3 C.7.6.16)."""
    dataset = pydicom.dcmread(instance.path, stop_before_pixels=True)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    planes = []
    for number, item in enumerate(dataset.get("PerFrameFunctionalGroupsSequence") or [], start=1):
        groups = [item, *shared]
        measures = _macro(groups, "PixelMeasuresSequence", number)
        orientation = _macro(groups, "PlaneOrientationSequence", number)
        position = _macro(groups, "PlanePositionSequence", number)
        spacing = [float(v) for v in measures.PixelSpacing]
        x, y, z = (float(v) for v in position.ImagePositionPatient)
        thickness = measures.get("SliceThickness")
        planes.append(
            Plane(
                instance=instance,
                frame=number,
                rows=int(dataset.Rows),
                columns=int(dataset.Columns),
                pixel_spacing_mm=(spacing[0], spacing[1]),
                orientation=tuple(float(v) for v in orientation.ImageOrientationPatient),
                position_mm=(x, y, z),
                thickness_mm=None if thickness is None else float(thickness),
            )
        )
    if not planes:
        raise UnsafeGeometry("a multi-frame image lacks its Per-Frame Functional Groups Sequence")
    return planes


def _macro(groups: list[Dataset], keyword: str, number: int) -> Dataset:
    for group in groups:
        items = group.get(keyword)
        if items:
            first: Dataset = items[0]
            return first
    raise UnsafeGeometry(f"frame {number} of a multi-frame image lacks {keyword}")


def _largest_group(planes: tuple[Plane, ...]) -> tuple[list[Plane], list[Finding]]:
    """Keep the planes of the most common matrix, pixel spacing and orientation; report the others."""

    def geometry(plane: Plane) -> tuple[object, ...]:
        cosines = tuple(round(value / SAME_DIRECTION) for value in plane.orientation)
        spacing = tuple(round(value / SAME_LENGTH_MM) for value in plane.pixel_spacing_mm)
        return plane.rows, plane.columns, spacing, cosines

    if not planes:
        return [], []
    groups = Counter(geometry(plane) for plane in planes)
    common, count = groups.most_common(1)[0]
    if count == len(planes):
        return list(planes), []
    others = len(planes) - count
    finding = Finding("mixed_geometry", f"{others} of {len(planes)} images differ in matrix or orientation; left out")
    return [plane for plane in planes if geometry(plane) == common], [finding]


def _one_volume(planes: list[Plane]) -> tuple[list[Plane], list[Finding]]:
    """Of volumes that lie at the same place, such as before and after contrast, keep one.

    An acquisition counts as a volume if it reaches over (nearly) all that the planes reach over and has one slice at a
    position. Where none does, as with a table that steps from acquisition to acquisition, all are returned: slices at
    one position are then refused. Nothing else tells phases apart safely: Instance Numbers begin anew, or run on.
    """
    if len(planes) < 2:
        return planes, []
    normal = np.cross(*_directions(planes[0]))

    def places(members: list[Plane]) -> Vector:
        return np.sort(np.array([plane.position_mm for plane in members]) @ normal)

    everywhere = places(planes)
    acquisitions = {plane.instance.acquisition_number for plane in planes}
    if not np.any(np.diff(everywhere) < SAME_POSITION_MM) or None in acquisitions:
        return planes, []
    volumes: dict[int, list[Plane]] = {}
    for number in sorted(number for number in acquisitions if number is not None):
        members = [plane for plane in planes if plane.instance.acquisition_number == number]
        steps = np.diff(places(members))
        if steps.size and steps.min() >= SAME_POSITION_MM and steps.sum() >= WHOLE_SHARE * np.ptp(everywhere):
            volumes[number] = members
    if not volumes:
        return planes, []
    chosen = max(volumes, key=lambda number: (len(volumes[number]), -number))
    message = (
        f"{len(acquisitions)} acquisitions lie at one place; acquisition {chosen} is used, "
        f"{len(volumes[chosen])} of {len(planes)} slices"
    )
    return volumes[chosen], [Finding("several_volumes", message)]


def _directions(plane: Plane) -> tuple[Vector, Vector]:
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=0.01) or abs(float(row @ column)) > 0.01:
        raise UnsafeGeometry(
            f"Image Orientation (Patient) is not a pair of perpendicular unit vectors: lengths {lengths[0]:.3f} and "
            f"{lengths[1]:.3f}, product {float(row @ column):.3f}"
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _check_steps(positions_mm: Vector, max_slice_step_mm: float) -> list[Finding]:
    steps = np.diff(positions_mm)
    together = int(np.count_nonzero(steps < SAME_POSITION_MM))
    if together:
        raise UnsafeGeometry(f"{together + 1} of {positions_mm.size} slices lie at a position that another one holds")
    typical, widest = float(np.median(steps)), float(steps.max())
    if widest > max_slice_step_mm:
        raise UnsafeGeometry(
            f"slices lie {widest:.2f} mm apart; more than {max_slice_step_mm:g} mm shows no thin bone "
            "(selection.max_slice_step_mm)"
        )
    if widest > MAX_GAP_STEPS * typical:
        raise UnsafeGeometry(f"slices are missing: a gap of {widest:.2f} mm where steps are {typical:.2f} mm")
    gaps = int(np.count_nonzero(steps > GAP_STEPS * typical))
    if gaps:
        return [Finding("gap", f"{gaps} gap(s) of up to {widest:.2f} mm where steps are {typical:.2f} mm; bridged")]
    if float(np.abs(steps - typical).max()) > UNEVEN_SHARE * typical:
        message = f"slice steps run from {steps.min():.2f} to {widest:.2f} mm; each slice is taken at its true position"
        return [Finding("uneven_spacing", message)]
    return []


def _check_slant(origins_mm: Vector, normal: Vector) -> list[Finding]:
    """Tilt is the slant of the line through the slice origins against the normal (PS3.3 C.8.2.1)."""
    depth = origins_mm @ normal
    in_plane = origins_mm - depth[:, None] * normal
    slope = np.polynomial.polynomial.polyfit(depth, in_plane, 1)
    spread_mm = float(np.linalg.norm(in_plane - slope[0] - depth[:, None] * slope[1], axis=1).max())
    if spread_mm > MAX_SLANT_SPREAD_MM:
        raise UnsafeGeometry(f"slices are displaced in plane by up to {spread_mm:.1f} mm against a straight stack")
    tilt = float(np.degrees(np.arctan(np.linalg.norm(slope[1]))))
    if tilt > MAX_TILT_DEGREES:
        raise UnsafeGeometry(f"the stack slants by {tilt:.1f} degrees; no gantry tilts more than {MAX_TILT_DEGREES:g}")
    if tilt > TILT_DEGREES:
        return [Finding("gantry_tilt", f"the gantry was tilted by {tilt:.1f} degrees; the volume is a sheared stack")]
    return []


def _check_thickness(planes: tuple[Plane, ...], step_mm: float) -> list[Finding]:
    """Compare the thickness with the table step, which a tilt leaves as it is."""
    thicknesses = sorted({plane.thickness_mm for plane in planes if plane.thickness_mm is not None})
    if not thicknesses:
        return [Finding("no_thickness", "Slice Thickness is missing; the slice step is used")]
    if thicknesses[-1] - thicknesses[0] > SAME_LENGTH_MM:
        message = f"slice thickness runs from {thicknesses[0]:g} to {thicknesses[-1]:g} mm"
        return [Finding("mixed_thickness", message)]
    if thicknesses[0] > step_mm * (1 + UNEVEN_SHARE):
        return [Finding("overlap", f"slices of {thicknesses[0]:g} mm every {step_mm:.2f} mm overlap")]
    return []
