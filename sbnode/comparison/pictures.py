"""Pictures of where two bones differ: cuts through the CT, and views of the surface. They hold no text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from sbnode.config import Region
from sbnode.inference.bone import Bone
from sbnode.inference.volume import Volume
from sbnode.results.panels import BACKGROUND, Panel, Picture, sample_hu, surface
from sbnode.results.views import Anatomical, View, render_view

__all__ = ["ONLY_A", "ONLY_B", "cuts", "views"]

ONLY_A = (64, 156, 255)
ONLY_B = (255, 138, 0)
"""Blue and orange: told apart with any colour vision, and by their brightness in grey."""
SHARED = (255, 255, 255)
SIDES = ("superior", "inferior", "anterior")
SHARED_GREY = 0.85
"""Of bone of both in views, 0..1: without hue, so that orange stands out."""
REACH_MM = 20.0
"""Half the edge of a cut."""
RING_MM = 5.0
RING = (225, 225, 120)
PIXELS = 400
WINDOW_HU = (-400.0, 2000.0)
_STRENGTH = 0.65
_SHARED_STRENGTH = 0.16
# Directions in LPS along which a cut's columns and rows grow, and its letters at left, right, top and bottom.
_CUTS = (
    ("axial", (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), ("R", "L", "A", "P")),
    ("coronal", (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), ("R", "L", "S", "I")),
    ("sagittal", (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), ("A", "P", "S", "I")),
)

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


def cuts(a: Bone, b: Bone, volume: Volume, at_mm: Points) -> tuple[tuple[Panel, ...], tuple[Panel, ...]]:
    """Return an axial, a coronal and a sagittal cut through ``at_mm``: the CT alone, and with the bone of both.

    The cuts run along the axes of the patient, whatever the slices do, in the radiological convention (right is left).
    """
    scan, marked = [], []
    for name, across, down, letters in _CUTS:
        points_mm = _plane(at_mm, np.array(across), np.array(down))
        picture = _grey(volume, points_mm)
        with_bone = _marked(picture, _at(a, points_mm), _at(b, points_mm))
        scan.append(Panel(f"CT, {name}", _ringed(picture), letters))
        marked.append(Panel(f"A and B, {name}", _ringed(with_bone), letters))
    return tuple(scan), tuple(marked)


def _plane(at_mm: Points, across: Points, down: Points) -> Points:
    """Patient coordinates of the pixels of a square about ``at_mm``, shape (rows, columns, 3)."""
    offsets = (np.arange(PIXELS) + 0.5) / PIXELS * 2 * REACH_MM - REACH_MM
    plane: Points = at_mm + offsets[:, None, None] * down + offsets[None, :, None] * across
    return plane


def _grey(volume: Volume, points_mm: Points) -> Picture:
    low, high = WINDOW_HU
    grey = np.clip((sample_hu(volume, points_mm) - low) / (high - low), 0, 1) * 255
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def _at(bone: Bone, points_mm: Points) -> Mask:
    index = np.moveaxis(bone.grid.to_index(points_mm), -1, 0)
    level = ndimage.map_coordinates(bone.level, index, order=1, mode="constant", cval=-0.5)
    return np.asarray(level > 0)


def _marked(picture: Picture, in_a: Mask, in_b: Mask) -> Picture:
    marked = picture.astype(np.float32)
    parts = (
        (in_a & in_b, SHARED, _SHARED_STRENGTH),
        (in_a & ~in_b, ONLY_A, _STRENGTH),
        (in_b & ~in_a, ONLY_B, _STRENGTH),
    )
    for mask, rgb, strength in parts:
        marked[mask] = (1 - strength) * marked[mask] + strength * np.array(rgb, np.float32)
    return marked.astype(np.uint8)


def _ringed(picture: Picture) -> Picture:
    """With a thin ring about the middle, so that a small difference is found."""
    image = Image.fromarray(picture)
    middle, radius = PIXELS / 2, RING_MM / REACH_MM * PIXELS / 2
    box = (middle - radius, middle - radius, middle + radius, middle + radius)
    ImageDraw.Draw(image).ellipse(box, outline=RING)
    return np.asarray(image)


def views(a: Bone, b: Bone, region: Region) -> tuple[tuple[Panel, Panel, Panel], ...]:
    """Return, from each of ``SIDES``, the surface of A, that of B, and both with what only one of them has marked.

    Args:
        a: bone A.
        b: bone B, on the same grid.
        region: names the colour of A and that of B.
    """
    turned_a, turned_b = _plain(a), _plain(b)
    found = []
    for side in SIDES:
        panels = [surface(turned, side, region) for turned in (turned_a, turned_b)]
        both = Panel("difference", _both(turned_a, turned_b, View.from_side(side)), panels[0].letters)
        found.append((panels[0], panels[1], both))
    return tuple(found)


def _plain(bone: Bone) -> Anatomical:
    """Without marks of inferred bone, whose colour is much like that of A."""
    return Anatomical.of(replace(bone, inferred=np.zeros(bone.level.shape, np.bool_)))


def _both(a: Anatomical, b: Anatomical, view: View) -> Picture:
    """The surface around both, coloured where all bone behind it, as deep as a thin plate, is that of one alone."""
    level = np.maximum(a.level, b.level)
    in_a, in_b = a.level > 0, b.level > 0
    nothing = np.zeros(3, np.float32)
    plain = np.full(3, SHARED_GREY, np.float32)
    whole = Anatomical(level, in_a & ~in_b, a.order, a.flipped)
    picture = render_view(whole, view, (plain, plain), np.array(BACKGROUND, np.float32) / np.float32(255))
    for marked, rgb in ((in_a & ~in_b, ONLY_A), (in_b & ~in_a, ONLY_B)):
        colour = np.array(rgb, np.float32) / np.float32(255)
        drawn = render_view(Anatomical(level, marked, a.order, a.flipped), view, (nothing, colour), nothing)
        picture = np.where(drawn.max(axis=2, keepdims=True) > 0, drawn, picture)
    return picture
