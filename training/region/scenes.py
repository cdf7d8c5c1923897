"""Random coarse scans of deformed heads, and of things that are no head, with the skull base known.

The atlas is drawn out of shape, filled with random tissue and scanned roughly; contrast, sizes, tilt, cut-off and
noise vary far more than in patients, so that a real scan is one case among many (Billot et al., SynthSeg, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sbnode.inference.region import BONES as REGION_BONES
from training.region import objects
from training.region.atlas import AIR, AIRWAY, BONES, BRAIN, MUSCLE, ORBIT, ORIGIN_MM, SHAPE_XYZ, Atlas
from training.region.channels import FINE_MM, to_channels

__all__ = ["AtlasTensors", "Sample", "random_sample"]

HEAD_CENTRE_MM = np.array([0.0, -85.0, 1535.0])
NEGATIVE_SHARE = 0.25
OTHER = len(REGION_BONES) - 1
"""What is below the atlas or not told apart."""
BAND_MM = 9.0
"""The region counts this close to bone; further away nothing depends on it."""


@dataclass(frozen=True)
class AtlasTensors:
    """The atlas as torch tensors of shape (1, 1, z, y, x)."""

    depth: Tensor
    labels: Tensor
    """16 * tissue + bone group, + 128 where the nearest bone is skull base."""

    @classmethod
    def of(cls, atlas: Atlas) -> AtlasTensors:
        """Pack the arrays of an atlas."""
        packed = atlas.group + 16 * atlas.tissue + 128 * atlas.base
        return cls(torch.from_numpy(atlas.depth)[None, None], torch.from_numpy(packed.astype(np.float32))[None, None])


@dataclass(frozen=True)
class Sample:
    """What the network sees and what it should say; (C, z, y, x) and (z, y, x), 3 mm, sizes multiples of 16."""

    channels: Tensor
    target: Tensor
    weight: Tensor
    bones: Tensor
    """Index into `sbnode.inference.region.BONES` of the nearest bone."""
    place: Tensor
    """(3, z, y, x): mm to the left, back and up from the middle of the atlas' head; the patient's left is positive."""


def random_sample(atlas: AtlasTensors, seed: int) -> Sample:
    """Return the sample that belongs to ``seed``."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    if random.uniform() < NEGATIVE_SHARE:
        hu = objects.negative(random)
        nothing = np.zeros(hu.shape, np.float32)
        head = Head(hu, nothing, nothing, nothing.astype(np.uint8), torch.zeros(3, *hu.shape))
    else:
        head = _head(atlas, random)
    shape = head.hu.shape
    seen = _field_of_view(shape, random)
    hu = _scan(head.hu + objects.table(shape, random), random)
    return _finish(np.where(seen, hu, -1024.0).astype(np.float32), head, seen)


@dataclass(frozen=True)
class Head:
    """Fields of a simulated head on fine voxels, (z, y, x)."""

    hu: NDArray[np.float32]
    base: NDArray[np.float32]
    bone: NDArray[np.float32]
    bones: NDArray[np.uint8]
    place: Tensor


def _head(atlas: AtlasTensors, random: np.random.Generator) -> Head:
    points, place = _deformed_points(random)
    depth = functional.grid_sample(atlas.depth, points, mode="bilinear", padding_mode="border", align_corners=True)[
        0, 0
    ]
    packed = functional.grid_sample(atlas.labels, points, mode="nearest", align_corners=True)[0, 0].to(torch.int64)
    base, tissue, group = packed // 128, packed % 128 // 16, packed % 16
    bone = _bone_fraction(depth, group, random)
    hu = _soft_hu(_filled(tissue, random), random) * (1 - bone) + _bone_hu(depth, group, random) * bone
    hu = hu.numpy()
    objects.add_vessels(hu, random)
    if random.uniform() < 0.35:
        _add_dental_metal(hu, (group == BONES.index("face") + 1).numpy() & (depth > 0).numpy(), random)
    return Head(
        hu=hu,
        base=base.numpy().astype(np.float32),
        bone=bone.numpy(),
        bones=torch.where(group == 0, OTHER, (group - 1).clamp(max=OTHER)).numpy().astype(np.uint8),
        place=place,
    )


def _filled(tissue: Tensor, random: np.random.Generator) -> Tensor:
    """Mostly the tissue as it is; sometimes a dry skull, or one in a single medium, as phantoms are."""
    chance = random.uniform()
    if chance < 0.06:
        return torch.full_like(tissue, AIR)
    if chance < 0.14:
        return torch.where(tissue == AIR, tissue, MUSCLE)
    return tissue


def _deformed_points(random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Where in the atlas each fine voxel looks, for grid_sample (1, z, y, x, 3), and its `Sample.place`."""
    low, high = _output_box_mm(random)
    shape = tuple(int((h - a) / FINE_MM) // 32 * 32 + 32 for a, h in zip(low, high, strict=True))
    axes = [torch.arange(n, dtype=torch.float32) * FINE_MM + float(a) for n, a in zip(shape, low, strict=True)]
    matrix = torch.from_numpy(_affine(random).astype(np.float32))
    warp = _elastic(shape, random)
    x, y, z = axes[2][None, None, :], axes[1][None, :, None], axes[0][:, None, None]
    parts, place = [], []
    for row in range(3):
        where = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z + warp[row]
        voxel = where + float(HEAD_CENTRE_MM[row] - ORIGIN_MM[row])
        parts.append(voxel * (2.0 / (SHAPE_XYZ[row] - 1)) - 1)
        place.append(where)
    if torch.linalg.det(matrix) < 0:  # The atlas is mirrored: its right side is the patient's left.
        place[0] = -place[0]
    return torch.stack(parts, dim=-1)[None], torch.stack(place)


def _output_box_mm(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A box (z, y, x) about the middle of the head, often cut at its ends."""
    low = np.array([-random.uniform(70, 150), -110.0, -85.0])
    high = np.array([110.0, 112.0, 85.0])
    cut = random.uniform()
    if cut < 0.2:
        high[0] = random.uniform(-15, 30)
    elif cut < 0.4:
        low[0] = random.uniform(-60, -10)
    elif cut < 0.5:
        low[0] = random.uniform(-200, -150)
        high[0] = random.uniform(-60, 100)
    elif cut < 0.62:
        low[0], high[0] = -200, random.uniform(-100, -50)
    elif cut < 0.68:
        low[0] = random.uniform(15, 50)
    return low, high


def _affine(random: np.random.Generator) -> NDArray[np.float64]:
    """Output mm to atlas mm about the middle of the head: rotations, sizes, shears, sometimes mirrored."""
    angles = np.radians(random.uniform(-1, 1, 3) * random.choice([10, 20, 38]))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    size = random.uniform(0.72, 1.15) * random.uniform(0.9, 1.1, 3)
    shear = np.eye(3) + random.normal(0, 0.04, (3, 3)) * (1 - np.eye(3))
    if random.uniform() < 0.5:
        size[0] = -size[0]
    return np.asarray(np.diag(1 / size) @ shear @ matrix)


def _elastic(shape: tuple[int, ...], random: np.random.Generator) -> Tensor:
    """Smooth random displacement in mm, (3, z, y, x)."""
    warp = torch.zeros(1, 3, *shape)
    for step_mm, size_mm in (
        (90.0, random.uniform(0, 7)),
        (40.0, random.uniform(0, 5)),
        (20.0, random.uniform(0, 2)),
    ):
        knots = [max(2, round(n * FINE_MM / step_mm) + 1) for n in shape]
        field = torch.randn(1, 3, *knots) * size_mm
        warp += functional.interpolate(field, size=shape, mode="trilinear", align_corners=True)
    return warp[0]


def _smooth(shape: tuple[int, ...] | torch.Size, step_mm: float) -> Tensor:
    """Smooth noise of unit variance at its knots."""
    knots = [max(2, round(n * FINE_MM / step_mm) + 1) for n in shape]
    field = functional.interpolate(torch.randn(1, 1, *knots), size=tuple(shape), mode="trilinear", align_corners=True)
    return field[0, 0]


def _bone_fraction(depth: Tensor, group: Tensor, random: np.random.Generator) -> Tensor:
    """Walls thinner or thicker than the atlas has them; where they are thin they may vanish."""
    thinner = random.uniform(-0.8, 0.5) + random.uniform(0, 0.5) * _smooth(depth.shape, 25.0)
    softness = random.uniform(1.0, 2.0)
    bone = ((depth - thinner) / softness + 0.5).clamp(0, 1)
    for name in ("hyoid", "neck"):
        if random.uniform() < 0.2:
            bone = bone * (group != BONES.index(name) + 1)
    return bone


def _bone_hu(depth: Tensor, group: Tensor, random: np.random.Generator) -> Tensor:
    compact, spongy = random.uniform(800, 1800), random.uniform(150, 1000)
    inner = ((depth - random.uniform(0.8, 2.0)) / 1.5).clamp(0, 1)
    factors = torch.from_numpy(random.uniform(0.7, 1.1, 17).astype(np.float32))
    hu = (compact + (min(spongy, compact) - compact) * inner) * factors[group.clamp(max=16)]
    hu = hu * (1 + 0.15 * _smooth(depth.shape, 12.0))
    cells = _smooth(depth.shape, 5.0) > random.uniform(-0.3, 0.6)
    pneumatised = (group == BONES.index("temporal") + 1) & (depth > random.uniform(0.6, 2.0)) & cells
    if random.uniform() < 0.8:
        hu[pneumatised] = -900.0 if random.uniform() < 0.8 else 20.0
    return hu


def _soft_hu(tissue: Tensor, random: np.random.Generator) -> Tensor:
    values = torch.zeros(8)
    values[AIR] = random.uniform(-1024, -950)
    values[MUSCLE] = random.uniform(-60, 80)
    values[BRAIN] = random.uniform(10, 60)
    values[ORBIT] = random.uniform(-90, 30)
    values[AIRWAY] = -950.0
    hu = values[tissue]
    patches = _smooth(tissue.shape, 15.0)
    hu = hu + 30 * patches * (hu > -500)
    mucosa = (tissue == AIRWAY) & (patches > random.uniform(-0.6, 0.8))
    hu[mucosa] = random.uniform(0, 50)
    fat = (tissue == MUSCLE) & (_smooth(tissue.shape, 18.0) > 0.4)
    hu[fat] = -90.0
    return hu


def _add_dental_metal(hu: NDArray[np.float32], face: NDArray[np.bool_], random: np.random.Generator) -> None:
    """Fillings at the lowest front part of the upper jaw, with streaks in their slices."""
    cells = np.argwhere(face)
    if not len(cells):
        return
    low = cells[cells[:, 0] < np.quantile(cells[:, 0], 0.15)]
    if not len(low):
        return
    for centre in low[random.integers(0, len(low), 6)]:
        objects.add_ball(hu, centre + random.normal(0, 2, 3), random.uniform(2, 4), random.uniform(1500, 3000))
        objects.add_streaks(hu, centre, random.uniform(100, 500), random)


def _field_of_view(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.bool_]:
    """What the scanner shows: a tilted slab, and in it a circle or rectangle."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    slope = np.tan(np.radians(random.uniform(-25, 25))) if random.uniform() < 0.5 else 0.0
    height = z + slope * (y - shape[1] / 2)
    seen = np.ones(shape, bool)
    if slope:
        inset = abs(slope) * shape[1] / 2 * random.uniform(0, 0.7)
        seen &= (height > inset) & (height < shape[0] - inset)
    kind = random.uniform()
    centre = np.array(shape[1:]) / 2 + random.normal(0, 6, 2)
    if kind < 0.35:
        radius = random.uniform(60, 130) / FINE_MM
        seen &= (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    elif kind < 0.45:
        # A small field about one ear, the nose or the sella, as scans of the temporal bone or the sinuses have.
        centre = centre + random.uniform(-45, 45, 2) / FINE_MM
        radius = random.uniform(38, 65) / FINE_MM
        seen &= (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    elif kind < 0.62:
        half = random.uniform(55, 120, 2) / FINE_MM
        seen &= (abs(y - centre[0]) < half[0]) & (abs(x - centre[1]) < half[1])
    return seen


def _scan(hu: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Thick slices, blur and noise."""
    field = torch.from_numpy(hu)[None, None]
    slices = int(random.choice([1, 1, 2, 3, 4]))
    if slices > 1:
        kept = field.shape[2] // slices
        thick = functional.avg_pool3d(field, (slices, 1, 1))
        field = functional.interpolate(thick, size=field.shape[2:], mode="trilinear") if kept > 1 else field
    if random.uniform() < 0.5:
        side = random.uniform(0.05, 0.3)
        kernel = torch.tensor([side, 1 - 2 * side, side], dtype=torch.float32)
        field = functional.conv3d(field, kernel.view(1, 1, 1, 3, 1), padding=(0, 1, 0))
        field = functional.conv3d(field, kernel.view(1, 1, 1, 1, 3), padding=(0, 0, 1))
    noise = random.uniform(0, 60) if random.uniform() < 0.7 else random.uniform(60, 160)
    field = field * random.uniform(0.9, 1.1) + torch.randn(field.shape) * noise
    return np.asarray(field[0, 0].numpy())


def _finish(hu: NDArray[np.float32], head: Head, seen: NDArray[np.bool_]) -> Sample:
    channels = to_channels(torch.from_numpy(hu))
    fine = (head.base * seen, head.bone * seen, seen.astype(np.float32))
    halved = [functional.avg_pool3d(torch.from_numpy(part)[None], 2)[0] for part in fine]
    target = (halved[0] > 0.5).float()
    reach = round(BAND_MM / (2 * FINE_MM))
    near = functional.max_pool3d((halved[1] > 0.15).float()[None], 2 * reach + 1, 1, reach)[0]
    if not head.bone.any():
        near = functional.max_pool3d((channels[:1] > 0.1).float(), 3, 1, 1)[0]
    weight = (0.03 + near) * (halved[2] > 0.5)
    target = target * near
    bones = torch.from_numpy(np.ascontiguousarray(head.bones[::2, ::2, ::2]))
    return Sample(channels, target, weight, bones, functional.avg_pool3d(head.place, 2))
