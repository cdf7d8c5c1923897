"""In how many pieces the bone is, and how many ways lead through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Topology"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Topology:
    """The shape of bone as far as bending doesn't change it: its Betti numbers, by the Euler characteristic.

    Cells that touch at a face, an edge or a corner hang together. ``tunnels`` are the ways through: foramina and
    canals as well as holes that were torn into thin plates; two ways out of one passage count as one. ``cavities`` are
    spaces that are closed on all sides. ``largest`` is the share of the largest piece, 0..1.
    """

    pieces: int
    largest: float
    tunnels: int
    cavities: int

    @classmethod
    def of(cls, bone: Mask) -> Topology:
        """Count in a mask of cells."""
        if not bone.any():
            return cls(0, 0.0, 0, 0)
        solid = np.pad(_cropped(bone), 1)
        labels, pieces = ndimage.label(solid, np.ones((3, 3, 3)))
        largest = int(np.bincount(labels.ravel())[1:].max())
        del labels
        spaces = int(ndimage.label(~solid)[1])
        cavities = spaces - 1  # one of them is what lies around
        tunnels = int(pieces) + cavities - _euler(solid)
        return cls(int(pieces), largest / int(np.count_nonzero(solid)), tunnels, cavities)


def _cropped(mask: Mask) -> Mask:
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    return mask[box]


def _euler(solid: Mask) -> int:
    """Corners less edges plus faces less cells, of the closed cells. ``solid`` is empty along its ends."""
    faces = [_either(solid, axis) for axis in range(3)]
    edges = [_either(faces[axis], (axis + 1) % 3) for axis in range(3)]
    corners = _either(edges[0], 2)
    counts = [[corners], edges, faces, [solid]]
    return sum((-1) ** k * sum(int(np.count_nonzero(one)) for one in each) for k, each in enumerate(counts))


def _either(mask: Mask, axis: int) -> Mask:
    """Whether one of two neighbours along ``axis`` is set; one shorter along it."""
    along = np.moveaxis(mask, axis, 0)
    return np.moveaxis(along[:-1] | along[1:], 0, axis)
