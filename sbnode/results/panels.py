"""The pictures that previews consist of: views of the surface, and cuts through the CT with the bone's contours.

They hold no patient data, so that they may be shown where the scan may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sbnode.config import Region
from sbnode.inference.bone import Bone, Foramen
from sbnode.inference.volume import AIR_HU, Volume
from sbnode.results.segments import bone_segment, inferred_segment
from sbnode.results.views import DIRECTIONS, Anatomical, View, render_view

__all__ = [
    "BACKGROUND",
    "DIM",
    "TEXT",
    "WARNING",
    "Panel",
    "Picture",
    "cuts",
    "paste",
    "sample_hu",
    "surface",
    "views",
    "write",
]

WINDOW_HU = (-600.0, 2600.0)
"""HU shown black and white in the cuts: wide, so that the contours stand out from the densest bone."""
BACKGROUND = (18, 20, 24)
TEXT = (232, 234, 237)
DIM = (150, 156, 164)
WARNING = (255, 176, 64)

_CUT_SIZE = (448, 378)
"""Columns and rows that a cut is drawn into, unless more are asked for."""
# Superior, posterior, left: cuts keep two of these axes, in the radiological convention (right is left).
_CUTS = (("axial", 0), ("coronal", 1), ("sagittal", 2))
_CUT_LETTERS = (("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"))
_NUMBERED = ("superior", "inferior")
"""The views in which the openings are marked."""
_RING = (255, 90, 90)
_LEAST_RING = 5
_TITLES = {
    "anterior": "From the front",
    "posterior": "From behind",
    "left": "From the left",
    "right": "From the right",
    "superior": "From above",
    "inferior": "From below",
}

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: RGB (rows, columns, 3), and orientation letters at its left, right, top and bottom."""

    title: str
    image: Picture
    letters: tuple[str, str, str, str]


def views(bone: Bone, region: Region, foramina: Sequence[Foramen] = ()) -> tuple[Panel, ...]:
    """Return the surface from six sides, inferred thin bone in its own colour, a pixel per cell.

    The openings are numbered, from 1, in the views from above and below.
    """
    turned = Anatomical.of(bone)
    panels = tuple(surface(turned, side, region) for side in DIRECTIONS)
    for panel, side in zip(panels, DIRECTIONS, strict=True):
        if side in _NUMBERED:
            _number(panel.image, bone, turned, View.from_side(side), foramina)
    return panels


def surface(bone: Anatomical, side: str, region: Region) -> Panel:
    """Return the surface from one of the sides."""
    view = View.from_side(side)
    certain, inferred = (
        np.array(segment.rgb, np.float32) / np.float32(255)
        for segment in (bone_segment(region), inferred_segment(region))
    )
    background = np.array(BACKGROUND, np.float32) / np.float32(255)
    return Panel(_TITLES[side], render_view(bone, view, (certain, inferred), background), view.letters)


def cuts(
    bone: Bone,
    volume: Volume,
    region: Region,
    foramen: Foramen | None = None,
    reach_mm: float | None = None,
    size: tuple[int, int] = _CUT_SIZE,
) -> tuple[Panel, ...]:
    """Return an axial, a coronal and a sagittal cut through the CT with the bone's contours.

    Args:
        bone: the bone, which says where to cut: through its middle.
        volume: the source series.
        region: names the colours.
        foramen: cut through this opening instead, with a ring of its calibre about it.
        reach_mm: show so much to all sides of the place; None: the whole field.
        size: columns and rows that a picture fits into.
    """
    turned = Anatomical.of(bone)
    if foramen is not None and foramen.place_mm is not None:
        centre = turned.from_grid(bone.grid.to_index(np.array(foramen.place_mm)))
    else:
        centre = np.array([_middle(turned.level, axis) for axis in range(3)], np.float64)
    reach = None if reach_mm is None else reach_mm / bone.grid.spacing_mm
    panels = tuple(_cut(bone, turned, volume, axis, centre, reach, size, region) for axis in range(3))
    if foramen is not None and foramen.calibre_mm is not None and reach_mm is not None:
        for panel in panels:
            _ring(panel.image, foramen.calibre_mm / 2 / (2 * reach_mm) * panel.image.shape[0])
    return panels


def _cut(
    bone: Bone,
    turned: Anatomical,
    volume: Volume,
    axis: int,
    centre: NDArray[np.float64],
    reach: float | None,
    size: tuple[int, int],
    region: Region,
) -> Panel:
    down, across = (a for a in range(3) if a != axis)
    first, last = np.zeros(3), np.array(turned.level.shape) - 1.0
    if reach is not None:
        first, last = centre - reach, centre + reach
    extent = last - first + 1
    scale = min(size[0] / extent[across], size[1] / extent[down])
    rows, columns = int(extent[down] * scale), int(extent[across] * scale)
    indices = np.empty((rows, columns, 3))
    indices[..., axis] = centre[axis]
    row = (np.arange(rows) + 0.5) / scale - 0.5
    indices[..., down] = (last[down] - row if down == 0 else first[down] + row)[:, None]
    indices[..., across] = first[across] + ((np.arange(columns) + 0.5) / scale - 0.5)[None, :]
    hu = sample_hu(volume, bone.grid.to_patient(turned.to_grid(indices)))
    low, high = WINDOW_HU
    grey = np.clip((hu - low) / (high - low), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    position = np.moveaxis(indices, -1, 0)
    level = ndimage.map_coordinates(turned.level, position, order=1, mode="nearest")
    inferred = ndimage.map_coordinates(turned.inferred.view(np.uint8), position, order=0, mode="nearest") > 0
    _draw_contour(picture, level > 0, bone_segment(region).rgb)
    _draw_contour(picture, inferred & (level > 0), inferred_segment(region).rgb)
    return Panel(f"CT, {_CUTS[axis][0]}", picture, _CUT_LETTERS[axis])


def _middle(level: NDArray[np.float32], axis: int) -> int:
    """Return the index along ``axis`` that halves the bone."""
    others = tuple(a for a in range(3) if a != axis)
    filled = np.cumsum(np.count_nonzero(level > 0, axis=others))
    return int(np.searchsorted(filled, filled[-1] / 2))


def sample_hu(volume: Volume, points_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return HU at patient points by trilinear interpolation along the true slices; outside is air."""
    stack = volume.stack
    index, along = stack.to_index(points_mm), points_mm @ stack.normal
    index[(along < stack.positions_mm[0]) | (along > stack.positions_mm[-1])] = -1
    sampled = ndimage.map_coordinates(
        volume.hu, np.moveaxis(index, -1, 0), np.float32, order=1, mode="constant", cval=AIR_HU
    )
    return np.asarray(sampled, np.float32)


def _draw_contour(picture: Picture, mask: NDArray[np.bool_], rgb: tuple[int, int, int]) -> None:
    edge = mask & ~ndimage.binary_erosion(mask, iterations=2)
    picture[edge] = (0.15 * picture[edge] + 0.85 * np.array(rgb)).astype(np.uint8)


def _number(picture: Picture, bone: Bone, turned: Anatomical, view: View, foramina: Sequence[Foramen]) -> None:
    """Draw a ring with its number about every opening, in place."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for number, foramen in enumerate(foramina, start=1):
        if foramen.place_mm is None or foramen.calibre_mm is None:
            continue
        index = turned.from_grid(bone.grid.to_index(np.array(foramen.place_mm)))
        row, column = view.pixel(index, turned.level.shape)
        radius = max(foramen.calibre_mm / 2 / bone.grid.spacing_mm, _LEAST_RING)
        draw.ellipse((column - radius, row - radius, column + radius, row + radius), outline=_RING, width=2)
        write(draw, (round(column + radius + 2), round(row)), str(number), 15, _RING, "lm")
    picture[:] = np.asarray(image)


def _ring(picture: Picture, radius: float) -> None:
    """Draw a ring about the middle, in place."""
    image = Image.fromarray(picture)
    row, column = picture.shape[0] / 2, picture.shape[1] / 2
    ImageDraw.Draw(image).ellipse((column - radius, row - radius, column + radius, row + radius), outline=_RING)
    picture[:] = np.asarray(image)


def paste(image: Image.Image, panel: Panel, corner: tuple[int, int], size: tuple[int, int], margin: int = 26) -> None:
    """Put a panel with its title and letters into a frame of ``size`` (columns, rows) whose corner is given.

    The picture is scaled to fit with ``margin`` pixels left and right, above and below.
    """
    draw, picture = ImageDraw.Draw(image), Image.fromarray(panel.image)
    room = size[0] - 2 * margin, size[1] - 2 * margin
    scale = min(room[0] / picture.width, room[1] / picture.height)
    scaled = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
    if scaled != picture.size:
        picture = picture.resize(scaled, Image.Resampling.LANCZOS)
    image.paste(picture, (corner[0] + (size[0] - scaled[0]) // 2, corner[1] + (size[1] - scaled[1]) // 2))
    right, bottom = corner[0] + size[0], corner[1] + size[1]
    write(draw, (corner[0] + 6, corner[1] + 4), panel.title, 17, TEXT, "la")
    left_letter, right_letter, top_letter, bottom_letter = panel.letters
    centre = ((corner[0] + right) // 2, (corner[1] + bottom) // 2)
    for place, letter, anchor in (
        ((corner[0] + 6, centre[1]), left_letter, "lm"),
        ((right - 6, centre[1]), right_letter, "rm"),
        ((centre[0], corner[1] + 4), top_letter, "ma"),
        ((centre[0], bottom - 2), bottom_letter, "md"),
    ):
        write(draw, place, letter, 18, TEXT, anchor)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    anchor: str,
) -> None:
    """Draw a line of text that stays legible on any picture; ``anchor`` as Pillow has it."""
    font = ImageFont.load_default(size)
    draw.text(place, text, colour, font, anchor, stroke_width=2, stroke_fill=BACKGROUND)
