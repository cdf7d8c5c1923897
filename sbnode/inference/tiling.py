"""How a grid is cut into boxes that a network sees one at a time, so that little is computed in vain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Tile", "Tiling", "cut"]

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Start and stop on each axis, in blocks of ``multiple_of`` cells."""

MIDDLE = 0.3
"""A box that is too large is cut no nearer to its ends than this share of its length: no slivers."""


class Tiling(BaseModel):
    """The part of ``model.yaml`` that says how a grid may be cut.

    The network sees at most ``size`` cubed cells at once, of which the ``halo`` on each side is thrown away.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    size: int = Field(gt=0)
    halo: int = Field(ge=0)
    multiple_of: int = Field(gt=0)

    @model_validator(mode="after")
    def _keeps_the_phase(self) -> Tiling:
        if self.size % self.multiple_of or self.halo % self.multiple_of or self.size <= 2 * self.halo:
            raise ValueError("size and halo must be multiples of multiple_of, and size more than two halos")
        return self


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of the grid: the cells that it answers for, and with a halo around them the cells that are seen."""

    starts: tuple[int, int, int]
    stops: tuple[int, int, int]
    halo: int

    @property
    def core(self) -> tuple[slice, ...]:
        """Where the tile lies in the grid."""
        return tuple(slice(start, stop) for start, stop in zip(self.starts, self.stops, strict=True))

    @property
    def inner(self) -> tuple[slice, ...]:
        """Where the core lies in what is seen."""
        return tuple(
            slice(self.halo, self.halo + stop - start) for start, stop in zip(self.starts, self.stops, strict=True)
        )

    def read(self, field: NDArray[np.int16]) -> NDArray[np.float32]:
        """Cut what is seen out of ``field``; beyond its border the edge cells are repeated."""
        block = field
        for axis, (start, stop) in enumerate(zip(self.starts, self.stops, strict=True)):
            index = np.clip(np.arange(start - self.halo, stop + self.halo), 0, field.shape[axis] - 1)
            if index[-1] - index[0] + 1 == len(index):
                block = block[(slice(None),) * axis + (slice(index[0], index[-1] + 1),)]
            else:
                block = block.take(index, axis=axis)
        return np.ascontiguousarray(block, np.float32)


def cut(wanted: NDArray[np.bool_], tiling: Tiling) -> Iterator[Tile]:
    """Cover the wanted cells with tiles.

    A box around all of them is halved again and again, where that leaves the least to compute, as long as a box is
    larger than allowed or two are cheaper than one. All starts and lengths are multiples of the network's strides, so
    that tiles agree where they meet; a tile may reach beyond the grid by less than one stride.
    """
    step = tiling.multiple_of
    blocks = _blocks(wanted, step)
    whole = _shrunk(blocks, ((0, blocks.shape[0]), (0, blocks.shape[1]), (0, blocks.shape[2])))
    if whole is not None:
        for (z0, z1), (y0, y1), (x0, x1) in _parts(blocks, whole, tiling.halo // step, (tiling.size // step) ** 3):
            yield Tile((z0 * step, y0 * step, x0 * step), (z1 * step, y1 * step, x1 * step), tiling.halo)


def _blocks(wanted: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Whether anything is wanted in each block of ``step`` cubed cells."""
    padded = np.pad(wanted, [(0, -length % step) for length in wanted.shape])
    a, b, c = (length // step for length in padded.shape)
    return np.asarray(padded.reshape(a, step, b, step, c, step).any(axis=(1, 3, 5)))


def _shrunk(blocks: NDArray[np.bool_], box: Box) -> Box | None:
    """Return the smallest box around what is wanted in ``box``; None when nothing is."""
    part = blocks[tuple(slice(*span) for span in box)]
    spans = []
    for axis, (start, _) in enumerate(box):
        found = np.flatnonzero(part.any(axis=tuple(other for other in range(3) if other != axis)))
        if not found.size:
            return None
        spans.append((start + int(found[0]), start + int(found[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _cost(box: Box, halo: int) -> int:
    """Blocks that the network sees."""
    a, b, c = (stop - start + 2 * halo for start, stop in box)
    return a * b * c


def _parts(blocks: NDArray[np.bool_], box: Box, halo: int, largest: int) -> Iterator[Box]:
    cost = _cost(box, halo)
    options = [_halves(blocks, box, axis, at) for axis, at in _cuts(box, cost > largest)]
    cheapest = min(options, key=lambda halves: sum(_cost(half, halo) for half in halves), default=())
    if not cheapest or (cost <= largest and sum(_cost(half, halo) for half in cheapest) >= cost):
        yield box
        return
    for half in cheapest:
        yield from _parts(blocks, half, halo, largest)


def _cuts(box: Box, is_too_large: bool) -> Iterator[tuple[int, int]]:
    """Axes and places where ``box`` may be cut."""
    for axis, (start, stop) in enumerate(box):
        margin = max(1, int(MIDDLE * (stop - start))) if is_too_large else 1
        yield from product((axis,), range(start + margin, stop - margin + 1))


def _halves(blocks: NDArray[np.bool_], box: Box, axis: int, at: int) -> tuple[Box, ...]:
    low, high = list(box), list(box)
    low[axis], high[axis] = (box[axis][0], at), (at, box[axis][1])
    halves = (_shrunk(blocks, (half[0], half[1], half[2])) for half in (low, high))
    return tuple(half for half in halves if half is not None)
