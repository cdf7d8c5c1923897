"""One picture that tells whether a result is usable: six views of the surface and three cuts through the CT.

It holds no patient data, so that it may be shown where the scan may not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sbnode.config import Region
from sbnode.inference.bone import Bone, Finding, Foramen
from sbnode.inference.volume import AIR_HU, Volume
from sbnode.results.report import NOTICE
from sbnode.results.segments import bone_segment, inferred_segment
from sbnode.results.views import DIRECTIONS, Anatomical, View, render_view

__all__ = ["icon", "render"]

ICON_SIZE = 64
"""Rows and columns of an icon image; 128 at most (PS3.3 C.7.6.1.1.6)."""
WINDOW_HU = (-600.0, 2600.0)
"""HU shown black and white in the cuts: wide, so that the contours stand out from the densest bone."""

_PANEL = (500, 430)
_PICTURE = (448, 378)
_MARGIN = 14
_HEADER = 84
_FOOTER = 96
_LINE = 28
_BACKGROUND = (18, 20, 24)
_TEXT = (232, 234, 237)
_DIM = (150, 156, 164)
_WARNING = (255, 176, 64)
# Superior, posterior, left: cuts keep two of these axes, in the radiological convention (right is left).
_CUTS = (("axial", 0), ("coronal", 1), ("sagittal", 2))

_NUMBERED = ("superior", "inferior")
"""The views in which the openings are marked."""
_RING = (255, 90, 90)
_LEAST_RING = 5
_CHARACTERS = 160
"""So many fit into a line of the legend."""

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
class _Panel:
    title: str
    image: Picture
    letters: tuple[str, str, str, str]


def render(
    bone: Bone,
    volume: Volume,
    flags: Sequence[Finding] = (),
    region: Region = "skull_base",
    foramina: Sequence[Foramen] = (),
) -> Image.Image:
    """Return the preview as an RGB image.

    Six orthographic views of the surface, inferred thin bone in its own colour, the openings that were found numbered
    in those from above and below; axial, coronal and sagittal cuts through the middle of the bone with its contours on
    the CT; what the scan resolves; the openings' calibres; ``flags``, what to look at before the result is used; the
    notice that it is research.
    """
    turned = Anatomical.of(bone)
    panels = [_surface_panel(turned, side, region) for side in DIRECTIONS]
    for panel, side in zip(panels, DIRECTIONS, strict=True):
        if side in _NUMBERED:
            _number(panel.image, bone, turned, View.from_side(side), foramina)
    panels += [_cut_panel(bone, turned, volume, name, axis, region) for name, axis in _CUTS]
    width = 3 * _PANEL[0] + 4 * _MARGIN
    openings = _openings(foramina)
    footer = _FOOTER + _LINE * (len(flags) + len(openings))
    height = _HEADER + 3 * (_PANEL[1] + _MARGIN) + footer
    image = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    _head(draw, region, width)
    for index, panel in enumerate(panels):
        row, column = divmod(index, 3)
        corner = (_MARGIN + column * (_PANEL[0] + _MARGIN), _HEADER + row * (_PANEL[1] + _MARGIN))
        _paste(image, draw, panel, corner)
    _legend(draw, bone, volume, region, (_MARGIN, height - footer + 8))
    for index, line in enumerate(openings):
        place = (_MARGIN, height - _LINE * (len(flags) + len(openings) - index) - 12)
        _text(draw, place, line, 17, _TEXT, "la")
    for index, flag in enumerate(flags):
        place = (_MARGIN, height - _LINE * (len(flags) - index) - 12)
        _text(draw, place, f"Note: {flag.message}", 19, _WARNING, "la")
    return image


def _openings(foramina: Sequence[Foramen]) -> list[str]:
    """Lines with the names of the openings, their numbers in the pictures, and their calibres."""
    if not foramina:
        return []
    words: dict[str, list[str]] = {}
    for number, foramen in enumerate(foramina, start=1):
        size = "not resolvable" if foramen.calibre_mm is None else f"{foramen.calibre_mm:.1f}"
        words.setdefault(foramen.name, []).append(f"{number} {foramen.side[:1].upper()} {size}".replace("  ", " "))
    entries = [f"{name} {', '.join(sizes)}" for name, sizes in words.items()]
    return textwrap.wrap("Openings, calibre in mm: " + " \u00b7 ".join(entries), _CHARACTERS)


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
        _text(draw, (round(column + radius + 2), round(row)), str(number), 15, _RING, "lm")
    picture[:] = np.asarray(image)


def icon(bone: Bone, region: Region = "skull_base") -> Picture:
    """Return a small grey picture of the surface from above, shape (64, 64), for the DICOM icon image."""
    picture = Image.fromarray(_surface_panel(Anatomical.of(bone), "superior", region).image).convert("L")
    picture.thumbnail((ICON_SIZE, ICON_SIZE), Image.Resampling.LANCZOS)
    square = Image.new("L", (ICON_SIZE, ICON_SIZE))
    square.paste(picture, ((ICON_SIZE - picture.width) // 2, (ICON_SIZE - picture.height) // 2))
    return np.asarray(square)


def _surface_panel(bone: Anatomical, side: str, region: Region) -> _Panel:
    view = View.from_side(side)
    certain, inferred = (
        np.array(segment.rgb, np.float32) / np.float32(255)
        for segment in (bone_segment(region), inferred_segment(region))
    )
    background = np.array(_BACKGROUND, np.float32) / np.float32(255)
    return _Panel(_TITLES[side], render_view(bone, view, (certain, inferred), background), view.letters)


def _cut_panel(bone: Bone, turned: Anatomical, volume: Volume, name: str, axis: int, region: Region) -> _Panel:
    centre = _middle(turned.level, axis)
    down, across = (a for a in range(3) if a != axis)
    shape = (turned.level.shape[down], turned.level.shape[across])
    scale = min(_PICTURE[0] / shape[1], _PICTURE[1] / shape[0])
    rows, columns = int(shape[0] * scale), int(shape[1] * scale)
    indices = np.empty((rows, columns, 3))
    indices[..., axis] = centre
    row = (np.arange(rows) + 0.5) / scale - 0.5
    indices[..., down] = (shape[0] - 1 - row if down == 0 else row)[:, None]
    indices[..., across] = ((np.arange(columns) + 0.5) / scale - 0.5)[None, :]
    hu = _sample_hu(volume, bone.grid.to_patient(turned.to_grid(indices)))
    low, high = WINDOW_HU
    grey = np.clip((hu - low) / (high - low), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    position = np.moveaxis(indices, -1, 0)
    level = ndimage.map_coordinates(turned.level, position, order=1, mode="nearest")
    inferred = ndimage.map_coordinates(turned.inferred.astype(np.uint8), position, order=0, mode="nearest") > 0
    _draw_contour(picture, level > 0, bone_segment(region).rgb)
    _draw_contour(picture, inferred & (level > 0), inferred_segment(region).rgb)
    letters = {0: ("R", "L", "A", "P"), 1: ("R", "L", "S", "I"), 2: ("A", "P", "S", "I")}[axis]
    return _Panel(f"CT, {name}", picture, letters)


def _middle(level: NDArray[np.float32], axis: int) -> int:
    """Return the index along ``axis`` that halves the bone."""
    others = tuple(a for a in range(3) if a != axis)
    filled = np.cumsum(np.count_nonzero(level > 0, axis=others))
    return int(np.searchsorted(filled, filled[-1] / 2))


def _sample_hu(volume: Volume, points_mm: NDArray[np.float64]) -> NDArray[np.float32]:
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


def _paste(image: Image.Image, draw: ImageDraw.ImageDraw, panel: _Panel, corner: tuple[int, int]) -> None:
    picture = Image.fromarray(panel.image)
    scale = min(_PICTURE[0] / picture.width, _PICTURE[1] / picture.height)
    size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    x, y = corner[0] + (_PANEL[0] - size[0]) // 2, corner[1] + (_PANEL[1] - size[1]) // 2
    image.paste(picture, (x, y))
    right, bottom = corner[0] + _PANEL[0], corner[1] + _PANEL[1]
    _text(draw, (corner[0] + 6, corner[1] + 4), panel.title, 17, _TEXT, "la")
    left_letter, right_letter, top_letter, bottom_letter = panel.letters
    centre = ((corner[0] + right) // 2, (corner[1] + bottom) // 2)
    for place, letter, anchor in (
        ((corner[0] + 6, centre[1]), left_letter, "lm"),
        ((right - 6, centre[1]), right_letter, "rm"),
        ((centre[0], corner[1] + 4), top_letter, "ma"),
        ((centre[0], bottom - 2), bottom_letter, "md"),
    ):
        _text(draw, place, letter, 18, _TEXT, anchor)


def _head(draw: ImageDraw.ImageDraw, region: Region, width: int) -> None:
    title = "Bone of the skull base" if region == "skull_base" else "Bone"
    _text(draw, (_MARGIN, 16), title, 30, _TEXT, "la")
    _text(draw, (width - _MARGIN, 22), NOTICE, 20, _WARNING, "ra")
    _text(draw, (_MARGIN, 54), "Surface at sub-voxel precision, six sides; contours on the source CT", 16, _DIM, "la")


def _legend(draw: ImageDraw.ImageDraw, bone: Bone, volume: Volume, region: Region, corner: tuple[int, int]) -> None:
    x, y = corner
    share = bone.inferred_share
    for segment, volume_ml in (
        (bone_segment(region), bone.volume_ml * (1 - share)),
        (inferred_segment(region), bone.volume_ml * share),
    ):
        draw.rectangle((x, y + 3, x + 22, y + 19), fill=segment.rgb)
        _text(draw, (x + 32, y), f"{segment.label}  {volume_ml:.1f} mL", 19, _TEXT, "la")
        y += _LINE
    lines = (f"Total {bone.volume_ml:.1f} mL, of it {share:.1%} inferred", _resolution(volume, bone))
    y = corner[1]
    for line in lines:
        _text(draw, (x + 420, y), line, 19, _TEXT, "la")
        y += _LINE


def _resolution(volume: Volume, bone: Bone) -> str:
    stack = volume.stack
    thickness = [i.slice_thickness_mm for i in volume.instances if i.slice_thickness_mm]
    text = f"Source: {stack.shape[0]} slices, pixels {stack.row_spacing_mm:.2f} mm"
    if len(stack.origins_mm) > 1:
        text += f", spacing {float(np.median(np.diff(stack.positions_mm))):.2f} mm"
    if thickness:
        text += f", thickness {float(np.median(thickness)):.2f} mm"
    return f"{text}; computed at {bone.grid.spacing_mm:.2f} mm"


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    anchor: str,
) -> None:
    font = ImageFont.load_default(size)
    draw.text(place, text, colour, font, anchor, stroke_width=2, stroke_fill=_BACKGROUND)
