"""Where the skull base is: a coarse network that sees the whole scan at once.

The scan is brought into patient axes on cells of 3 mm, whatever its slice order, tilt or spacing, and only the amount
of bone and of body in each cell reaches the network. It answers how likely the bone near a cell is skull base.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sbnode.config import Execution
from sbnode.errors import ModelError
from sbnode.inference.geometry import Grid, SliceStack
from sbnode.inference.model import ModelDescription, Session, open_session, read_model_description
from sbnode.inference.volume import Volume

__all__ = ["BODY_HU", "BONE_HU", "CELL_MM", "RegionMap", "RegionModel"]

Field = NDArray[np.float32]

CELL_MM = 3.0
"""Side of the cells that the network was trained on."""
BONE_HU = (150.0, 850.0)
"""First channel: HU clipped to this window, 0..1, averaged over the cell."""
BODY_HU = (-1000.0, 0.0)
"""Second channel: likewise."""
BONES = ("frontal", "parietal", "occipital", "temporal", "sphenoid", "ethmoid", "other")
"""Bones that the network tells apart; "other" is the face, the mandible and the neck."""
OUTPUT_CHANNELS = {"skull_base": 1, "bones": len(BONES), "place": 3}
MULTIPLE_OF = 16
"""The network halves its grid four times."""
BONE_CELL = 0.08
"""A cell with this much of the first channel holds some bone."""
THIN_CELL = 0.04
"""So much is left of a plate of 0.3 mm; noise alone stays below."""
MARGIN_MM = 15.0
"""The network sees the bone and this much around it."""
SAMPLE_STEP = 4
"""Cells of a fine grid between two samples of the map: 1.6 mm on the grid of the results."""
LEAST_BONE_ML = 25.0
"""A scan with less skull-base bone than this in one piece shows no skull base; the model card has what scans hold."""
LEAST_CONFIDENCE = 0.81
"""Below this mean probability over the bone that it calls skull base, the network is guessing; it is lower on necks,
chests and vaults than on heads, whole or cut, as the model card shows."""
LEAST_COHERENCE = 0.5
"""In a head the places of the bone follow an affine map of its position; in anything else they don't. This is the least
share of their variance, along the worst axis, that such a map must explain."""
LEAST_PART = 0.2
"""The skull base is one piece. A separate part smaller than this share of the largest is a mistake."""
EVEN_PROBABILITY = 0.2
"""Bone of this probability is as likely in as out; it becomes one half in the map. The network is a little too careful
where scans are often cut: at 0.3 a hole is left in the occipital floor of a real head, at 0.2 none; at 0.15 the region
reaches further into the atlas at the condyles."""
CLOSING_CELLS = 4
"""The border of the region is closed with a ball of this radius: a bite out of it into which the ball doesn't fit is
the network's hesitation, as in the thin floor of the occipital bone beside the foramen magnum ..."""
DENIED_PROBABILITY = 0.05
"""... unless the network denies the bone there altogether, as it does with the vertebra and the mandible."""
REACH_CELLS = 3
"""The region reaches this far around its bone, so that walls too thin for a cell of bone are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMap:
    """Where the skull base is, on a coarse grid along the patient axes.

    ``grid`` has the axes (up, back, left). ``inside`` is float32, shape ``grid.shape``: how much the bone near the cell
    belongs to the skull base, 0..1, from one half on it does; 0 further than ``REACH_CELLS`` from such bone.
    ``bone_ml`` is the amount of skull-base bone, ``confidence`` the mean probability over it, 0..1, and ``found``
    whether there is a skull base at all. ``bones`` is float32, shape (len(BONES), *grid.shape): how likely the bone
    near the cell is each of ``BONES``. ``place_mm`` is float32, shape (3, *grid.shape): where the cell would lie in the
    head of the atlas, mm to the left, back and up from its middle; the patient's left is positive.
    """

    grid: Grid
    inside: Field
    bones: Field
    place_mm: Field
    bone_ml: float
    confidence: float
    found: bool

    def sample(self, grid: Grid) -> Field:
        """Return ``inside`` on another grid by trilinear interpolation, float32, shape ``grid.shape``; 0 beyond it."""
        # The map is smooth, so every fourth cell is sampled and the cells between are interpolated: 50 times less work.
        knots = [np.arange(0, size + SAMPLE_STEP, SAMPLE_STEP) for size in grid.shape]
        matrix = self.grid.axes @ grid.axes.T * (grid.spacing_mm * SAMPLE_STEP / self.grid.spacing_mm)
        sampled: Field = ndimage.affine_transform(
            self.inside,
            matrix,
            self.grid.to_index(grid.origin_mm),
            output_shape=tuple(len(positions) for positions in knots),
            order=1,
            mode="constant",
            prefilter=False,
        )
        slices, rows, columns = (_linear(len(k), size) for k, size in zip(knots, grid.shape, strict=True))
        return np.asarray(rows @ np.tensordot(slices, sampled, axes=1) @ columns.T, np.float32)


def _linear(knots: int, size: int) -> Field:
    """Matrix (size, knots) that interpolates linearly from every ``SAMPLE_STEP``-th cell to all cells of an axis."""
    distance = np.abs(np.arange(size)[:, None] / SAMPLE_STEP - np.arange(knots)[None, :])
    return np.asarray(np.maximum(1 - distance, 0), np.float32)


@dataclass(frozen=True)
class RegionModel:
    """The region network."""

    description: ModelDescription
    session: Session

    @classmethod
    def open(cls, folder: Path, execution: Execution) -> RegionModel:
        """Open the model in ``folder``.

        Raises:
            ModelError: a file is missing or altered, or the network is made for other cells.
        """
        description = read_model_description(folder)
        if description.input.spacing_mm != CELL_MM:
            raise ModelError(
                f"{folder}: the region network is made for cells of {description.input.spacing_mm} mm, not {CELL_MM}"
            )
        session = open_session(folder / "model.onnx", execution)
        channels = {output.name: output.shape[1] for output in session.get_outputs()}
        if channels != OUTPUT_CHANNELS:
            raise ModelError(
                f"{folder / 'model.onnx'}: outputs {channels} are not those of the contract: {OUTPUT_CHANNELS}. "
                "Put a region model of version 2 there"
            )
        return cls(description, session)

    def locate(self, volume: Volume) -> RegionMap:
        """Find the skull base in ``volume``."""
        grid, channels = coarse_channels(volume.hu, volume.stack)
        grid, channels = _crop_to_bone(grid, channels)
        padding = [(0, 0)] + [(0, -size % MULTIPLE_OF) for size in grid.shape]
        answers = self.session.run(
            list(OUTPUT_CHANNELS), {self.description.input.name: np.pad(channels, padding)[None]}
        )
        cut = (slice(None), *(slice(size) for size in grid.shape))
        inside, bones, place = (np.ascontiguousarray(answer[0][cut], np.float32) for answer in answers)
        return _judged(grid, Answer(inside[0], bones, place), channels[0])


def coarse_channels(hu: NDArray[np.int16], stack: SliceStack) -> tuple[Grid, Field]:
    """Average a scan over cells along the patient axes.

    Args:
        hu: Hounsfield units, shape ``stack.shape``.
        stack: where the slices lie.

    Returns:
        The grid of the cells, axes (up, back, left), and the two channels, float32 (2, *grid.shape); 0 beyond the scan.
    """
    blocks = (
        _block_size(float(np.median(np.diff(stack.positions_mm)))),
        _block_size(stack.row_spacing_mm),
        _block_size(stack.column_spacing_mm),
    )
    means = np.stack([_block_means(hu, window, blocks) for window in (BONE_HU, BODY_HU)])
    grid = _patient_grid(stack)
    channels = np.zeros((2, *grid.shape), np.float32)
    row, column = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[2]), indexing="ij")
    for k in range(grid.shape[0]):
        points = grid.to_patient(np.stack([np.full_like(row, k), row, column], axis=-1).astype(np.float64))
        wanted, seen = _source_indices(points, stack)
        # The mean of a block of n stands in its middle, at voxel (n - 1) / 2.
        coordinates = [(wanted[..., a] - (n - 1) / 2) / n for a, n in enumerate(blocks)]
        for channel, mean in zip(channels, means, strict=True):
            channel[k] = ndimage.map_coordinates(mean, coordinates, order=1, mode="nearest") * seen
    return grid, channels


def _block_size(spacing_mm: float) -> int:
    return max(1, round(CELL_MM / spacing_mm))


def _block_means(hu: NDArray[np.int16], window_hu: tuple[float, float], blocks: tuple[int, int, int]) -> Field:
    """Clip to the window, scale to 0..1 and average blocks of voxels; a cut block at the end counts what it holds."""
    low, high = window_hu
    means: list[Field] = []
    starts = [np.arange(0, size, n) for size, n in zip(hu.shape, blocks, strict=True)]
    sizes = [np.diff(np.append(s, n)).astype(np.float32) for s, n in zip(starts, hu.shape, strict=True)]
    for first, size in zip(starts[0], sizes[0], strict=True):
        part = hu[first : first + int(size)].astype(np.float32)
        scaled = np.clip((part - low) / (high - low), 0, 1).sum(axis=0) / size
        sums = np.add.reduceat(np.add.reduceat(scaled, starts[1], axis=0), starts[2], axis=1)
        means.append(np.asarray(sums / sizes[1][:, None] / sizes[2][None, :], np.float32))
    return np.stack(means)


def _patient_grid(stack: SliceStack) -> Grid:
    """The cells along the patient axes that hold the whole stack."""
    ends = np.array([[k, r, c] for k in (0, 1) for r in (0, 1) for c in (0, 1)], np.float64)
    corners = stack.to_patient(ends * (np.array(stack.shape) - 1))
    low, high = corners.min(axis=0), corners.max(axis=0)
    sizes = np.ceil((high - low) / CELL_MM).astype(int) + 1
    return Grid(
        origin_mm=low,
        axes=np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
        spacing_mm=CELL_MM,
        shape=(int(sizes[2]), int(sizes[1]), int(sizes[0])),
    )


def _source_indices(points_mm: NDArray[np.float64], stack: SliceStack) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fractional (slice, row, column) of patient points, and whether the scan shows them (to half a cell)."""
    index = stack.to_index(points_mm)
    positions, along = stack.positions_mm, points_mm @ stack.normal
    slack = CELL_MM / 2
    seen = (along >= positions[0] - slack) & (along <= positions[-1] + slack)
    for indices, count, spacing in (
        (index[..., 1], stack.rows, stack.row_spacing_mm),
        (index[..., 2], stack.columns, stack.column_spacing_mm),
    ):
        seen &= (indices * spacing >= -slack) & ((indices - count + 1) * spacing <= slack)
    return index, seen


def _crop_to_bone(grid: Grid, channels: Field) -> tuple[Grid, Field]:
    """Leave away the empty space around all bone, so that a wide field of view looks like a narrow one."""
    bone = np.argwhere(channels[0] > BONE_CELL)
    if not len(bone):
        return grid, channels
    margin = round(MARGIN_MM / CELL_MM)
    low = np.maximum(bone.min(axis=0) - margin, 0)
    high = np.minimum(bone.max(axis=0) + margin + 1, grid.shape)
    part = channels[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    size = high - low
    shape = (int(size[0]), int(size[1]), int(size[2]))
    origin = grid.to_patient(low.astype(np.float64))
    return Grid(origin_mm=origin, axes=grid.axes, spacing_mm=CELL_MM, shape=shape), part


class Answer(NamedTuple):
    """What the network says, as `RegionMap` has it; ``inside`` as it comes."""

    inside: Field
    bones: Field
    place_mm: Field


def _judged(grid: Grid, answer: Answer, bone: Field) -> RegionMap:
    """Drop stray parts of the region and decide whether what is left is a skull base.

    That is decided on the bone of which the network is sure; the region then grows from it into the bone of even
    probability.
    """
    touching, inside = np.ones((3, 3, 3), bool), answer.inside
    core = (inside > 0.5) & (bone > THIN_CELL)
    parts, count = ndimage.label(core, touching)
    amounts = np.bincount(parts.ravel(), weights=(bone * core).ravel(), minlength=count + 1)
    amounts[0] = 0
    kept = amounts >= max(LEAST_PART * amounts.max(), 1e-6)
    largest = (parts == amounts.argmax()) & core
    amount, cell_ml = float(amounts.max()), CELL_MM**3 / 1000
    confidence = float((bone * inside)[largest].sum() / amount) if amount else 0.0
    found = amount * cell_ml >= LEAST_BONE_ML and confidence >= LEAST_CONFIDENCE
    found = found and _coherence(largest, answer.place_mm) >= LEAST_COHERENCE
    bone_ml = float(amounts[kept].sum()) * cell_ml
    closed = _closed(inside)
    even = (closed > EVEN_PROBABILITY) & (bone > THIN_CELL) & ~(core & ~kept[parts])
    bone_of_it = ndimage.binary_propagation(kept[parts], touching, mask=even)
    region = ndimage.binary_dilation(bone_of_it, touching, iterations=REACH_CELLS)
    inside = closed ** np.float32(math.log(0.5) / math.log(EVEN_PROBABILITY))
    inside = np.where(region, inside, np.float32(0))
    return RegionMap(
        grid=grid,
        inside=inside,
        bones=answer.bones,
        place_mm=answer.place_mm,
        bone_ml=bone_ml,
        confidence=confidence,
        found=found,
    )


def _coherence(cells: NDArray[np.bool_], place_mm: Field) -> float:
    """Share of the variance of the places that an affine map of the position explains, along the worst axis, 0..1."""
    at = np.argwhere(cells)
    places = place_mm[:, cells].T.astype(np.float64)
    design = np.column_stack([at, np.ones(len(at))])
    left = places - design @ np.linalg.lstsq(design, places, rcond=None)[0]
    return float(np.min(1 - left.var(axis=0) / np.maximum(places.var(axis=0), 1e-6)))


def _closed(inside: Field) -> Field:
    """Fill bites out of the border of the region."""
    radius = CLOSING_CELLS
    axis = np.arange(-radius, radius + 1)
    ball = np.add.outer(np.add.outer(axis**2, axis**2), axis**2) <= radius**2
    likely = np.pad(inside > EVEN_PROBABILITY, radius)
    closed = ndimage.binary_closing(likely, ball)[(slice(radius, -radius),) * 3]
    return np.where(closed & (inside > DENIED_PROBABILITY), np.maximum(inside, np.float32(0.5)), inside)
