"""What lies around a head or in its place: vessels, tables, metal, and scans of other things."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.region.channels import FINE_MM

__all__ = ["add_ball", "add_streaks", "add_vessels", "negative", "table"]

Field = NDArray[np.float32]


def add_ball(hu: Field, centre: NDArray[np.float64], radius_mm: float, value_hu: float) -> None:
    """Set a ball at voxel ``centre`` to a value."""
    radius = radius_mm / FINE_MM
    low = np.maximum(np.floor(centre - radius).astype(int), 0)
    high = np.minimum(np.ceil(centre + radius).astype(int) + 1, hu.shape)
    if np.any(high <= low):
        return
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    z, y, x = np.ogrid[part]
    hu[part][(z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2] = value_hu


def _tube(hu: Field, points: NDArray[np.float64], radius_mm: float, value_hu: float) -> None:
    for start, end in pairwise(points):
        steps = max(2, int(np.linalg.norm(end - start) * FINE_MM / max(1.0, radius_mm * 0.7)))
        for t in np.linspace(0, 1, steps):
            add_ball(hu, start + t * (end - start), radius_mm, value_hu)


def add_vessels(hu: Field, random: np.random.Generator) -> None:
    """Vessels filled with contrast, mostly rising from the neck to the skull base."""
    if random.uniform() < 0.5:
        return
    value = random.uniform(120, 450)
    size = np.array(hu.shape)
    for _ in range(random.integers(2, 9)):
        start = size * [random.uniform(-0.1, 0.4), random.uniform(0.2, 0.7), random.uniform(0.2, 0.8)]
        rise = random.uniform(20, 80) / FINE_MM
        points = start + np.cumsum(random.normal(0, 6, (6, 3)), axis=0)
        points[:, 0] += np.linspace(0, rise, 6)
        _tube(hu, points, random.uniform(1.2, 5.5), value)


def add_streaks(hu: Field, centre: NDArray[np.float64], size_hu: float, random: np.random.Generator) -> None:
    """Bright and dark rays from metal at voxel ``centre``, in the slices beside it."""
    rows = slice(max(0, int(centre[0]) - 3), max(0, int(centre[0]) + 4))
    y, x = np.ogrid[: hu.shape[1], : hu.shape[2]]
    angle = np.arctan2(y - centre[1], x - centre[2])
    radius = np.hypot(y - centre[1], x - centre[2]) * FINE_MM
    rays = sum(np.sin(k * angle + random.uniform(0, 6.3)) for k in random.integers(2, 15, 4))
    hu[rows] += (size_hu * rays / 2 * np.exp(-radius / random.uniform(20, 60))).astype(np.float32)


def table(shape: tuple[int, ...], random: np.random.Generator) -> Field:
    """HU to add for a couch or head rest behind the head; zeros where there is none."""
    added = np.zeros(shape, np.float32)
    if random.uniform() < 0.35:
        return added
    y, x = np.ogrid[: shape[1], : shape[2]]
    value, thickness = random.uniform(500, 1500), random.uniform(2, 7) / FINE_MM
    back = shape[1] * random.uniform(0.85, 1.0)
    if random.uniform() < 0.6:
        radius = random.uniform(95, 220) / FINE_MM
        centre = shape[2] / 2 + random.normal(0, 5)
        shell = abs(np.hypot(y - (back - radius), x - centre) - radius) < thickness / 2
        shell = shell & (y > back - radius * random.uniform(0.2, 0.9))
    else:
        shell = abs(y - back + random.normal(0, 0.05) * x) < thickness / 2
    top = random.uniform(0.3, 1.3) * shape[0]
    added[: max(1, int(top))] = np.where(shell, value, 0.0)
    return added


def negative(random: np.random.Generator) -> Field:
    """HU of something that holds no head: chest, limbs, blobs, an empty table."""
    shape = tuple(int(n) * 32 for n in random.integers((2, 4, 4), (5, 6, 7)))
    hu = np.full(shape, -1000.0, np.float32)
    kind = random.choice(["chest", "shoulders", "limbs", "blobs", "empty"], p=[0.25, 0.35, 0.15, 0.2, 0.05])
    if kind == "chest":
        _chest(hu, random)
    elif kind == "shoulders":
        _chest(hu, random)
        _girdle(hu, random)
    elif kind == "limbs":
        _limbs(hu, random)
    elif kind == "blobs":
        _blobs(hu, random)
    return hu


def _grid(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    middle = [(n - 1) / 2 for n in shape]
    return (z - middle[0]) * FINE_MM, (y - middle[1]) * FINE_MM, (x - middle[2]) * FINE_MM


def _chest(hu: Field, random: np.random.Generator) -> None:
    z, y, x = _grid(hu.shape)
    wide, deep = random.uniform(75, 115), random.uniform(60, 90)
    wall = np.hypot(x / wide, y / deep)
    hu[np.broadcast_to(wall < 1.12, hu.shape)] = random.uniform(-80, 60)
    lungs = np.broadcast_to((wall < 0.9) & (abs(x) > random.uniform(10, 35)), hu.shape)
    hu[lungs] = random.uniform(-900, -500) if random.uniform() < 0.7 else 40
    bone, pitch, slope = random.uniform(300, 1200), random.uniform(22, 34), random.uniform(-0.6, 0.6)
    ribs = (abs(wall - 0.97) < 0.05) & ((z + slope * y) % pitch < random.uniform(7, 11))
    hu[ribs] = bone
    back = deep * random.uniform(0.55, 0.8)
    step = random.uniform(22, 34)
    body = (np.hypot(x / 18, (y - back) / 14) < 1) & (z % step < step * 0.82)
    arch = (abs(np.hypot(x / 15, (y - back - 20) / 13) - 1) < 0.3) & (z % step < step * 0.6)
    hu[body | arch] = bone * random.uniform(0.3, 0.9)
    hu[(abs(x) < 16) & (abs(y + deep * 0.97) < 5) & (abs(z) < 80)] = bone * 0.8
    if random.uniform() < 0.5:
        add_vessels(hu, random)


def _girdle(hu: Field, random: np.random.Generator) -> None:
    """Clavicles, shoulder blades, heads of the humerus, and vessels with contrast between them."""
    size = np.array(hu.shape)
    middle = (size - 1) / 2
    bone = random.uniform(350, 1300)
    height = random.uniform(-0.3, 0.3) * size[0]
    for side in (-1, 1):
        if random.uniform() < 0.2:
            continue
        jitter = random.normal(0, 5, (6, 3)) / FINE_MM

        def place(up: float, back: float, left: float, side: int = side) -> NDArray[np.float64]:
            return middle + np.array([height + up / FINE_MM, back / FINE_MM, side * left / FINE_MM])

        joint = place(0, 10, 100) + jitter[0]
        add_ball(hu, joint, random.uniform(16, 24), bone * 0.6)
        _tube(hu, np.array([joint, joint + np.array([-60, 0, 8 * side]) / FINE_MM]), random.uniform(8, 12), bone)
        clavicle = np.array([place(-10, -55, 15), place(5, -45, 60), place(15, -5, 95)]) + jitter[1:4]
        _tube(hu, clavicle, random.uniform(4, 7), bone)
        blade = [place(5, 20, 90) + jitter[4], place(-30, 65, 45) + jitter[5], place(-80, 60, 60)]
        _tube(hu, np.array([*blade, blade[0]]), random.uniform(3, 6), bone * 0.8)
        _tube(hu, np.array([place(15, -5, 95), place(0, 60, 50)]) + jitter[1:3], random.uniform(4, 7), bone * 0.9)
    add_vessels(hu, random)


def _limbs(hu: Field, random: np.random.Generator) -> None:
    z, y, x = _grid(hu.shape)
    for side in random.choice([-1.0, 0.0, 1.0], random.integers(1, 4), replace=False):
        centre = side * random.uniform(45, 60), random.normal(0, 8)
        slant = random.normal(0, 0.15, 2)
        away = np.hypot(x - centre[0] - slant[0] * z, y - centre[1] - slant[1] * z)
        hu[away < random.uniform(35, 55)] = random.uniform(-60, 70)
        joint = random.uniform(-40, 40)
        flare = 11 + random.uniform(8, 20) * np.exp(-(((z - joint) / 28) ** 2))
        bone = (away < flare) & (abs(z - joint) > random.uniform(1.5, 4))
        hu[bone] = random.uniform(100, 500)
        hu[bone & (away > flare - random.uniform(2, 5))] = random.uniform(700, 1600)


def _blobs(hu: Field, random: np.random.Generator) -> None:
    size = np.array(hu.shape)
    for _ in range(random.integers(1, 14)):
        add_ball(hu, random.uniform(0, 1, 3) * size, random.uniform(4, 60), random.uniform(-200, 1800))
    if random.uniform() < 0.5:
        z, y, x = _grid(hu.shape)
        away = np.sqrt(x**2 + y**2 + z**2 * random.uniform(0.3, 1.5))
        radius = random.uniform(40, 90)
        hu[away < radius] = random.uniform(-100, 150)
        hu[abs(away - radius) < random.uniform(2, 6)] = random.uniform(100, 1500)
