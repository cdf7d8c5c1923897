"""Pictures of the bone's surface seen along the patient's axes: first hit of each parallel ray, shaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sbnode.inference.bone import Bone

__all__ = ["DIRECTIONS", "Anatomical", "View", "render_view"]

DIRECTIONS = ("anterior", "posterior", "left", "right", "superior", "inferior")
"""The sides that the surface is seen from."""

_LETTERS = ("IS", "AP", "RL")
_AXES = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.float64)
"""Superior, posterior and left in LPS patient coordinates."""
_LOOK_BEHIND_CELLS = 3
_LIGHT = np.array([0.35, 0.35, 0.87])
"""Direction to the light: right, up and towards the viewer in the picture."""

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rgb = NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Anatomical:
    """The fine field turned so that its axes grow to superior, posterior and left, as near as grid axes come.

    ``order`` and ``flipped`` say which axes of the grid they are and whether they run the other way.
    """

    level: Field
    inferred: Mask
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, bone: Bone) -> Anatomical:
        """Return views into the arrays of ``bone``, without copying."""
        alignment = _AXES @ bone.grid.axes.T
        order: list[int] = []
        for target in range(3):
            ranked = np.argsort(-np.abs(alignment[target]))
            order.append(next(int(axis) for axis in ranked if axis not in order))
        flipped = tuple(bool(alignment[target, axis] < 0) for target, axis in enumerate(order))
        turn = tuple(slice(None, None, -1 if flip else 1) for flip in flipped)
        return cls(
            level=bone.level.transpose(order)[turn],
            inferred=bone.inferred.transpose(order)[turn],
            order=(order[0], order[1], order[2]),
            flipped=(flipped[0], flipped[1], flipped[2]),
        )

    def to_grid(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map indices of this field, shape (..., 3), to indices of the grid."""
        mapped = np.empty_like(indices)
        for target, (axis, flip) in enumerate(zip(self.order, self.flipped, strict=True)):
            index = indices[..., target]
            mapped[..., axis] = self.level.shape[target] - 1 - index if flip else index
        return mapped

    def from_grid(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map indices of the grid, shape (..., 3), to indices of this field."""
        return np.stack(
            [
                self.level.shape[target] - 1 - indices[..., axis] if flip else indices[..., axis]
                for target, (axis, flip) in enumerate(zip(self.order, self.flipped, strict=True))
            ],
            axis=-1,
        )


@dataclass(frozen=True, slots=True)
class View:
    """A direction of view: the axis that rays run along, and what the picture's axes are.

    ``depth``, ``down`` and ``across`` are axes of `Anatomical` (0 superior, 1 posterior, 2 left);
    ``*_forward`` is whether they run as the axis grows.
    """

    depth: int
    depth_forward: bool
    down: int
    down_forward: bool
    across: int
    across_forward: bool

    @classmethod
    def from_side(cls, side: str) -> View:
        """Return the view from one of ``DIRECTIONS``: head up, or anterior up when seen along the long axis."""
        depth = {"s": 0, "i": 0, "a": 1, "p": 1, "l": 2, "r": 2}[side[0]]
        forward = side[0] in "iar"
        down = (1, True) if depth == 0 else (0, False)
        # What is right in the picture follows from the direction of view: across = depth x down.
        across = {
            "a": (2, True),
            "p": (2, False),
            "l": (1, True),
            "r": (1, False),
            "s": (2, False),
            "i": (2, True),
        }[side[0]]
        return cls(depth, forward, *down, *across)

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Orientation letters at the left, right, top and bottom of the picture."""
        sides = _LETTERS[self.across][:: 1 if self.across_forward else -1]
        ends = _LETTERS[self.down][:: 1 if self.down_forward else -1]
        return sides[0], sides[1], ends[0], ends[1]

    def turn(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return ``array`` of `Anatomical` with the axes (depth, down, across) of this view."""
        steps = [slice(None, None, 1 if f else -1) for f in self._forward]
        return array.transpose(self.depth, self.down, self.across)[tuple(steps)]

    def pixel(self, index: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[float, float]:
        """Return row and column of this view's picture for an index into a field of ``shape``."""
        row, column = (
            index[axis] if forward else shape[axis] - 1 - index[axis]
            for axis, forward in ((self.down, self.down_forward), (self.across, self.across_forward))
        )
        return float(row), float(column)

    @property
    def _forward(self) -> tuple[bool, bool, bool]:
        return self.depth_forward, self.down_forward, self.across_forward


def render_view(bone: Anatomical, view: View, colours: tuple[Rgb, Rgb], background: Rgb) -> NDArray[np.uint8]:
    """Return the surface as it is seen in ``view``, RGB, one pixel per cell.

    Args:
        bone: the field; the surface is its first crossing of 0 on each ray, found between samples.
        view: direction and axes.
        colours: of certain and of inferred bone, RGB 0..1.
        background: colour where no bone is hit.
    """
    level, inferred = view.turn(bone.level), view.turn(bone.inferred)
    solid = level > 0
    first = solid.argmax(axis=0)
    rows, columns = np.nonzero(solid.max(axis=0))
    depth = np.full(first.shape, np.nan, np.float32)
    steps = first[rows, columns]
    here = level[steps, rows, columns]
    before = level[np.maximum(steps - 1, 0), rows, columns]
    share = np.where(steps > 0, here / np.maximum(here - before, 1e-6), 0)
    depth[rows, columns] = steps - np.clip(share, 0, 1)
    normals = _normals(level, steps, rows, columns)
    normals[steps == 0] = (-1, 0, 0)  # bone cut off by the grid shows its flat face
    lit = _shade(normals) * _openness(depth)[rows, columns]
    # A shell of inferred cells on certain bone is no thin bone: look behind it.
    thin = inferred[steps, rows, columns]
    for behind in range(1, _LOOK_BEHIND_CELLS + 1):
        cell = (np.minimum(steps + behind, level.shape[0] - 1), rows, columns)
        thin = thin & (inferred[cell] | ~solid[cell])
    picture = np.broadcast_to(background, (*first.shape, 3)).copy()
    picture[rows, columns] = np.where(thin[:, None], colours[1], colours[0]) * lit[:, None]
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)


def _normals(level: Field, *hit: NDArray[np.intp]) -> NDArray[np.float32]:
    """Outward unit normals (depth, down, across) at cells of the field: a Sobel gradient over 3 x 3 x 3."""
    last = np.array(level.shape) - 1
    gradient = np.zeros((hit[0].size, 3), np.float32)
    for offset in np.ndindex(3, 3, 3):
        step = np.array(offset) - 1
        if not step.any():
            continue
        weight = np.float32(2.0 ** (3 - np.abs(step).sum()))
        index = tuple(np.clip(h + s, 0, m) for h, s, m in zip(hit, step, last, strict=True))
        value = np.asarray(level[index], np.float32).clip(-0.5, 0.5) * weight
        for axis in range(3):
            if step[axis]:
                gradient[:, axis] -= value * np.float32(step[axis])
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    return np.asarray(gradient / np.maximum(length, 1e-6), np.float32)


def _shade(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brightness 0..1 by a lamp beside the viewer (Lambert) and a little light from everywhere."""
    across, up, towards = normals[:, 2], -normals[:, 1], -normals[:, 0]
    lambert = -across * _LIGHT[0] + up * _LIGHT[1] + towards * _LIGHT[2]
    return np.asarray(0.25 + 0.75 * np.clip(lambert, 0, 1), np.float32)


def _openness(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Darken what lies deeper than its surroundings, so that canals and fossae read as such."""
    filled = np.where(np.isnan(depth), np.nanmax(depth) if np.isfinite(depth).any() else 0, depth)
    shade = np.ones(depth.shape, np.float32)
    for sigma, strength in ((3.0, 0.020), (12.0, 0.012)):
        deeper = filled - ndimage.gaussian_filter(filled, sigma)
        shade *= np.exp(-strength * np.clip(deeper, -10, 40)).astype(np.float32)
    far = np.nan_to_num((filled - filled.min()) / max(float(np.ptp(filled)), 1.0))
    return np.asarray(np.clip(shade, 0.3, 1.15) * (1.05 - 0.45 * far), np.float32)
