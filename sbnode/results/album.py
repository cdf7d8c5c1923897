"""The pictures of the preview series, large: the surface from six sides, cuts through the bone and every opening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sbnode.config import Region
from sbnode.inference.bone import Bone, Foramen
from sbnode.inference.volume import Volume
from sbnode.results.panels import BACKGROUND, TEXT, WARNING, Panel, Picture, cuts, paste, write
from sbnode.results.report import NOTICE
from sbnode.results.segments import bone_segment, inferred_segment

__all__ = ["Page", "pages"]

_SINGLE = (800, 700)
_TRIPLE = (400, 400)
"""Columns and rows of a panel that stands alone, and of one of three in a row."""
_HEAD, _FOOT = 40, 36
_REACH_MM = 25.0
"""So much is shown to all sides of an opening."""


@dataclass(frozen=True, slots=True)
class Page:
    """A picture of the series, RGB (rows, columns, 3), and what it shows."""

    title: str
    image: Picture


def pages(
    panels: Sequence[Panel], bone: Bone, volume: Volume, region: Region, foramina: Sequence[Foramen]
) -> tuple[Page, ...]:
    """Return ``panels`` one by one, then each opening that was found, on three cuts in a row.

    Every picture carries the legend of the colours and the notice that it is research.
    """
    made = [_page(panel.title, (panel,), _SINGLE, region) for panel in panels]
    for number, foramen in enumerate(foramina, start=1):
        if foramen.calibre_mm is None:
            continue
        name = f"{foramen.side} {foramen.name}".strip().capitalize()
        row = cuts(bone, volume, region, foramen, _REACH_MM, (_TRIPLE[0] - 52, _TRIPLE[1] - 52))
        made.append(_page(f"{number}  {name}, calibre {foramen.calibre_mm:.1f} mm", row, _TRIPLE, region))
    return tuple(made)


def _page(title: str, panels: Sequence[Panel], size: tuple[int, int], region: Region) -> Page:
    width, height = size[0] * len(panels), _HEAD + size[1] + _FOOT
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for number, panel in enumerate(panels):
        paste(image, panel, (number * size[0], _HEAD), size)
    write(draw, (12, 8), title, 22, TEXT, "la")
    x = 12
    for segment in (bone_segment(region), inferred_segment(region)):
        draw.rectangle((x, height - 24, x + 14, height - 10), fill=segment.rgb)
        write(draw, (x + 22, height - 27), segment.label, 16, TEXT, "la")
        x += 220
    write(draw, (width - 12, height - 27), NOTICE, 16, WARNING, "ra")
    return Page(title, np.asarray(image))
