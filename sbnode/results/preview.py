"""One picture that tells whether a result is usable: six views of the surface and three cuts through the CT."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from sbnode.config import Region
from sbnode.inference.bone import Bone, Finding, Foramen
from sbnode.inference.volume import Volume
from sbnode.results.panels import BACKGROUND, DIM, TEXT, WARNING, Panel, Picture, paste, surface, write
from sbnode.results.report import NOTICE
from sbnode.results.segments import bone_segment, inferred_segment
from sbnode.results.views import Anatomical

__all__ = ["icon", "render"]

ICON_SIZE = 64
"""Rows and columns of an icon image; 128 at most (PS3.3 C.7.6.1.1.6)."""

_PANEL = (500, 430)
_MARGIN = 14
_HEADER = 84
_FOOTER = 96
_LINE = 28
_CHARACTERS = 160
"""So many fit into a line of the legend."""


def render(
    panels: Sequence[Panel],
    bone: Bone,
    volume: Volume,
    flags: Sequence[Finding] = (),
    region: Region = "skull_base",
    foramina: Sequence[Foramen] = (),
) -> Image.Image:
    """Return the preview as an RGB image.

    It holds ``panels``, three in a row: the views and cuts of `sbnode.results.panels`; what the scan resolves; the
    openings' calibres; ``flags``, what to look at before the result is used; the notice that it is research.
    """
    width = 3 * _PANEL[0] + 4 * _MARGIN
    openings = _openings(foramina)
    footer = _FOOTER + _LINE * (len(flags) + len(openings))
    height = _HEADER + -(-len(panels) // 3) * (_PANEL[1] + _MARGIN) + footer
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    _head(draw, region, width)
    for index, panel in enumerate(panels):
        row, column = divmod(index, 3)
        corner = (_MARGIN + column * (_PANEL[0] + _MARGIN), _HEADER + row * (_PANEL[1] + _MARGIN))
        paste(image, panel, corner, _PANEL)
    _legend(draw, bone, volume, region, (_MARGIN, height - footer + 8))
    for index, line in enumerate(openings):
        place = (_MARGIN, height - _LINE * (len(flags) + len(openings) - index) - 12)
        write(draw, place, line, 17, TEXT, "la")
    for index, flag in enumerate(flags):
        place = (_MARGIN, height - _LINE * (len(flags) - index) - 12)
        write(draw, place, f"Note: {flag.message}", 19, WARNING, "la")
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


def icon(bone: Bone, region: Region = "skull_base") -> Picture:
    """Return a small grey picture of the surface from above, shape (64, 64), for the DICOM icon image."""
    picture = Image.fromarray(surface(Anatomical.of(bone), "superior", region).image).convert("L")
    picture.thumbnail((ICON_SIZE, ICON_SIZE), Image.Resampling.LANCZOS)
    square = Image.new("L", (ICON_SIZE, ICON_SIZE))
    square.paste(picture, ((ICON_SIZE - picture.width) // 2, (ICON_SIZE - picture.height) // 2))
    return np.asarray(square)


def _head(draw: ImageDraw.ImageDraw, region: Region, width: int) -> None:
    title = "Bone of the skull base" if region == "skull_base" else "Bone"
    write(draw, (_MARGIN, 16), title, 30, TEXT, "la")
    write(draw, (width - _MARGIN, 22), NOTICE, 20, WARNING, "ra")
    write(draw, (_MARGIN, 54), "Surface at sub-voxel precision, six sides; contours on the source CT", 16, DIM, "la")


def _legend(draw: ImageDraw.ImageDraw, bone: Bone, volume: Volume, region: Region, corner: tuple[int, int]) -> None:
    x, y = corner
    share = bone.inferred_share
    for segment, volume_ml in (
        (bone_segment(region), bone.volume_ml * (1 - share)),
        (inferred_segment(region), bone.volume_ml * share),
    ):
        draw.rectangle((x, y + 3, x + 22, y + 19), fill=segment.rgb)
        write(draw, (x + 32, y), f"{segment.label}  {volume_ml:.1f} mL", 19, TEXT, "la")
        y += _LINE
    lines = (f"Total {bone.volume_ml:.1f} mL, of it {share:.1%} inferred", _resolution(volume, bone))
    y = corner[1]
    for line in lines:
        write(draw, (x + 420, y), line, 19, TEXT, "la")
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
