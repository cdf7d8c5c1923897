"""The training grammar: random scenes of thin plates, thick bone, canals and things that are not bone.

A scene is a pure function of (seed, index). It draws media first, then thick bone, plates, lattices, canals,
and last the distractors, on cells of 0.2 mm in which plates thinner than a cell keep their exact mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator import shapes
from simulator.canvas import MARK_MM, THIN_MM, Canvas, Scene
from simulator.shapes import Curve, FineGrid, FloatArray, Vector
from simulator.tissue import BONE_HU, CONTRAST_HU, MEDIA_HU, log_uniform, medium, soft

TRAINING_GRID = FineGrid(count=128, step_mm=0.2)
GAP_MM = 2.0
"""Gaps and holes narrower than this are marked as lumen."""
SECOND_MIX_FROM = 1440
"""Scenes from this index on are drawn from the second mix: what the first left hardest comes up more often."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How often a scene holds what, as probabilities; `block` and `slab` exclude each other."""

    block: float
    slab: float
    pierced: float
    """Of slabs."""
    lattice: float
    holed: float
    """Of plates."""
    contrast: float
    """Of canals: filled with contrast medium."""
    spongy: float
    """Of thick bone."""


FIRST_MIX = Mix(block=0.35, slab=0.35, pierced=0.6, lattice=0.2, holed=0.4, contrast=0.15, spongy=0.5)
SECOND_MIX = Mix(block=0.25, slab=0.6, pierced=0.9, lattice=0.2, holed=0.75, contrast=0.25, spongy=0.6)


def random_scene(seed: int, index: int, grid: FineGrid = TRAINING_GRID) -> Scene:
    """Scene `index` of the series `seed`."""
    mix = FIRST_MIX if index < SECOND_MIX_FROM else SECOND_MIX
    random = np.random.default_rng((seed, index))
    canvas = Canvas.blank(grid, medium(random))
    for _ in range(int(random.integers(1, 3))):
        _add_region(canvas, random)
    kind = random.uniform()
    if kind < 0.16:
        _add_skin(canvas, random)
    if kind < 0.05:
        _add_soft_folds(canvas, random)
        return canvas.finish()
    bone_hu = float(random.uniform(*BONE_HU))
    thick = random.uniform()
    if thick < mix.block:
        _add_block(canvas, bone_hu, mix, random)
    elif thick < mix.block + mix.slab:
        _add_slab(canvas, bone_hu, mix, random)
    if random.uniform() < mix.lattice:
        _add_lattice(canvas, bone_hu, random)
    for _ in range(int(random.integers(0 if thick < mix.block + mix.slab else 1, 4))):
        _add_sheet(canvas, bone_hu, mix, random)
    if random.uniform() < 0.15:
        _add_rod(canvas, bone_hu, mix, random)
    _add_canals(canvas, bone_hu, mix, random)
    _add_distractors(canvas, random)
    return canvas.finish()


def _centre(grid: FineGrid, random: np.random.Generator, spread: float = 0.35) -> Vector:
    middle: Vector = grid.length_mm * (0.5 + random.uniform(-spread, spread, 3))
    return middle


def _surface(grid: FineGrid, random: np.random.Generator, bump_mm: float) -> FloatArray:
    """Distance to a random bumpy surface through the cube."""
    level = shapes.linear(grid, shapes.direction(random), _centre(grid, random, 0.28))
    level = level + np.float32(bump_mm) * shapes.smooth_field(grid, int(random.integers(4, 8)), random)
    return shapes.unit_slope(level, grid.step_mm)


def _add_region(canvas: Canvas, random: np.random.Generator) -> None:
    distance = _surface(canvas.grid, random, random.uniform(0.3, 3.0))
    canvas.fill(shapes.inside_fraction(distance, canvas.grid.step_mm), medium(random))


def _textured(hu: float, grid: FineGrid, depth: float, random: np.random.Generator) -> FloatArray:
    knots = int(random.integers(12, 30))
    texture = 1.0 + depth * shapes.smooth_field(grid, knots, random)
    return np.asarray(hu * np.clip(texture, 0.4, 1.8), dtype=np.float32)


def _solid(canvas: Canvas, distance: FloatArray, bone_hu: float, mix: Mix, random: np.random.Generator) -> None:
    """Bone inside a surface: compact throughout, or a cortex around spongy bone."""
    grid = canvas.grid
    compact = bone_hu * random.uniform(0.9, 1.15)
    hu: FloatArray | float = compact
    if random.uniform() < mix.spongy:
        cortex_mm = random.uniform(0.5, 2.0)
        core = shapes.inside_fraction(distance + cortex_mm, grid.step_mm)
        spongy_hu = random.uniform(0.3, 0.75) * compact
        spongy = _textured(spongy_hu, grid, random.uniform(0.05, 0.3), random)
        hu = np.asarray(compact + core * (spongy - compact), dtype=np.float32)
    canvas.ossify(shapes.inside_fraction(distance, grid.step_mm), hu)


def _add_block(canvas: Canvas, bone_hu: float, mix: Mix, random: np.random.Generator) -> None:
    grid = canvas.grid
    distance = _surface(grid, random, random.uniform(0.5, 3.0))
    _solid(canvas, distance, bone_hu, mix, random)
    if random.uniform() < 0.3:
        _add_air_cells(canvas, distance, random)
    if random.uniform() < 0.3:
        _add_rings(canvas, random)


def _add_slab(canvas: Canvas, bone_hu: float, mix: Mix, random: np.random.Generator) -> None:
    grid = canvas.grid
    distance = _surface(grid, random, random.uniform(0.1, 2.0))
    if random.uniform() < 0.6:
        canvas.fill(shapes.inside_fraction(distance, grid.step_mm), medium(random))
    half = 0.5 * log_uniform(random, 2.0, 10.0)
    swell = half * (1.0 + random.uniform(0, 0.25) * shapes.smooth_field(grid, 4, random))
    _solid(canvas, np.abs(distance) - swell, bone_hu, mix, random)
    if random.uniform() < 0.12:
        _add_air_cells(canvas, np.abs(distance) - swell, random)
    if random.uniform() < mix.pierced:
        _pierce(canvas, distance, mix, random)


def _pierce(canvas: Canvas, distance: FloatArray, mix: Mix, random: np.random.Generator) -> None:
    """Several canals through a slab, each more or less along its normal."""
    middle = np.abs(distance) < 0.5
    for _ in range(int(random.integers(2, 8))):
        origin = canvas.point_on(middle, random)
        if origin is None:
            return
        along = _normal(distance, origin, canvas.grid) + random.uniform(0, 0.8) * shapes.direction(random)
        along /= np.linalg.norm(along)
        path = shapes.curve(origin, along, random.uniform(0, 0.8), random)
        _draw_canal(canvas, path, _canal_radius(random), 0.0, None, mix, random)


def _normal(distance: FloatArray, point_mm: Vector, grid: FineGrid) -> Vector:
    """Gradient of a distance field at a point, a unit vector."""
    at = np.clip((point_mm / grid.step_mm).astype(int), 1, grid.count - 2)
    slope = np.array(
        [distance[tuple(at + step)] - distance[tuple(at - step)] for step in np.eye(3, dtype=int)],
        dtype=np.float64,
    )
    unit: Vector = slope / max(float(np.linalg.norm(slope)), 1e-6)
    return unit


def _add_air_cells(canvas: Canvas, distance: FloatArray, random: np.random.Generator) -> None:
    """Cells of air or fluid inside bone, as in the mastoid, under a shell that stays whole."""
    grid = canvas.grid
    knots = int(random.integers(8, 20))
    level = random.uniform(0.1, 0.9) - shapes.smooth_field(grid, knots, random)
    cells = np.maximum(shapes.unit_slope(level, grid.step_mm), distance + random.uniform(0.3, 1.5))
    hu = MEDIA_HU["air"][0] if random.uniform() < 0.7 else soft(random)
    canvas.fill(shapes.inside_fraction(cells, grid.step_mm), hu)


def _add_rings(canvas: Canvas, random: np.random.Generator) -> None:
    """Fluid-filled rings and a vestibule in compact bone, as the labyrinth."""
    grid = canvas.grid
    for _ in range(int(random.integers(1, 4))):
        centre = canvas.point_in_bone(random)
        if centre is None:
            return
        radius_mm = random.uniform(0.3, 0.9)
        tube = shapes.ring_distance(grid, centre, shapes.direction(random), random.uniform(2.0, 4.0))
        _carve(canvas, tube, radius_mm, soft(random), 0.0)


def _thickness(grid: FineGrid, random: np.random.Generator) -> FloatArray:
    """Thickness of a plate from 0.12 to 2.2 mm, varying smoothly."""
    mean_mm = log_uniform(random, 0.12, 2.2) if random.uniform() < 0.6 else log_uniform(random, 0.2, 0.8)
    spread = random.uniform(0.0, 0.4)
    varied = mean_mm * np.exp(spread * shapes.smooth_field(grid, 4, random))
    return np.asarray(np.clip(varied, 0.12, 2.2), dtype=np.float32)


def _add_sheet(canvas: Canvas, bone_hu: float, mix: Mix, random: np.random.Generator) -> None:
    """A curved plate with other media on each side, often with a lining, holes, an edge or a twin."""
    grid = canvas.grid
    distance = _surface(grid, random, random.uniform(0.1, 2.5))
    thickness = _thickness(grid, random)
    if random.uniform() < 0.6:
        canvas.fill(shapes.inside_fraction(distance, grid.step_mm), medium(random, air=0.4))
    draws = random.uniform(size=3)
    keep = np.ones(grid.shape, dtype=np.float32)
    if draws[0] < 0.2:
        edge = _surface(grid, random, random.uniform(0.3, 2.0))
        keep = shapes.inside_fraction(edge, grid.step_mm)
    holes = _holes(canvas, distance, random) if draws[1] < mix.holed else None
    _draw_sheet(canvas, distance, thickness, keep, holes, bone_hu, random)
    if draws[2] < 0.25:
        gap = np.clip(random.uniform(0.3, 2.2) * (1 + 0.25 * shapes.smooth_field(grid, 4, random)), 0.2, 4.0)
        twin = _thickness(grid, random)
        shift = 0.5 * (thickness + twin) + gap
        _draw_sheet(canvas, distance - shift, twin, keep, None, bone_hu, random)
        between = np.abs(distance - 0.5 * thickness - 0.5 * gap) < np.clip(0.5 * gap, MARK_MM, 0.5 * GAP_MM)
        canvas.lumen |= between & (gap < GAP_MM) & (keep > 0.5)


def _draw_sheet(
    canvas: Canvas,
    distance: FloatArray,
    thickness: FloatArray,
    keep: FloatArray,
    holes: FloatArray | None,
    bone_hu: float,
    random: np.random.Generator,
) -> None:
    """One plate; `holes` is a signed distance to its openings, negative inside them."""
    step_mm = canvas.grid.step_mm
    lining = random.uniform() < 0.4
    lining_mm = random.uniform(0.1, 1.2)
    if lining:
        coat = shapes.slab_fraction(distance, thickness + 2 * lining_mm, step_mm)
        canvas.surround(coat, random.uniform(*MEDIA_HU["mucosa"]))
    fraction = shapes.slab_fraction(distance, thickness, step_mm) * keep
    open_hole = np.zeros(fraction.shape, dtype=np.bool_)
    if holes is not None:
        fraction = fraction * shapes.inside_fraction(-holes, step_mm)
        open_hole = (holes < 0) & (np.abs(distance) < 0.5 * thickness + MARK_MM) & (keep > 0.5)
    before = canvas.bone > 0.6
    canvas.ossify(fraction, bone_hu * random.uniform(0.8, 1.1))
    medial = (np.abs(distance) < MARK_MM) & (thickness < THIN_MM) & (keep > 0.5)
    canvas.mark_sheet(medial & ~open_hole & ~before)
    canvas.lumen |= open_hole & ~before


def _holes(canvas: Canvas, distance: FloatArray, random: np.random.Generator) -> FloatArray | None:
    """Round, oval and slit-like openings across a plate."""
    grid = canvas.grid
    on_plate = np.abs(distance) < grid.step_mm
    nearest: FloatArray | None = None
    for _ in range(int(random.integers(1, 6))):
        origin = canvas.point_on(on_plate, random)
        if origin is None:
            return nearest
        path = shapes.curve(origin, _normal(distance, origin, grid), 0.0, random)
        radius = 0.5 * log_uniform(random, 0.5, 4.0)
        flatness = random.uniform(1.0, 2.0) if random.uniform() < 0.7 else random.uniform(2.0, 6.0)
        away, s = shapes.curve_distance(grid, path, flatness)
        rim = radius * (1.0 + random.uniform(0, 0.2) * shapes.smooth_field(grid, 8, random))
        hole = np.where(np.abs(s) < 4.0, away - rim, np.float32(5.0)).astype(np.float32)
        nearest = hole if nearest is None else np.minimum(nearest, hole)
    return nearest


def _add_lattice(canvas: Canvas, bone_hu: float, random: np.random.Generator) -> None:
    """A honeycomb of walls of 0.15-0.6 mm: bricks in warped space, or the zero set of a random field."""
    grid = canvas.grid
    wall_mm = log_uniform(random, 0.15, 0.6)
    if random.uniform() < 0.6:
        bend = random.uniform(0.2, 1.2)
        axes = [shapes.direction(random)]
        axes.extend(shapes.across(axes[0], random))
        warped = [shapes.linear(grid, axis, np.zeros(3)) + bend * shapes.smooth_field(grid, 6, random) for axis in axes]
        distance = shapes.lattice_distance((warped[0], warped[1], warped[2]), random.uniform(1.8, 6.0, 3))
    else:
        field = shapes.smooth_field(grid, int(random.integers(6, 14)), random)
        distance = np.abs(shapes.unit_slope(field, grid.step_mm))
    radius = random.uniform(5.0, 12.0)
    outer = shapes.ball_distance(grid, _centre(grid, random), radius * random.uniform(0.7, 1.3, 3))
    inside = shapes.inside_fraction(outer, grid.step_mm)
    canvas.fill(inside, medium(random, air=0.8))
    if random.uniform() < 0.6:
        lining = random.uniform(0.1, 0.6)
        coat = shapes.slab_fraction(distance, wall_mm + 2 * lining, grid.step_mm)
        canvas.surround(coat * inside, random.uniform(*MEDIA_HU["mucosa"]))
    walls = shapes.slab_fraction(distance, wall_mm, grid.step_mm) * inside
    canvas.ossify(walls, bone_hu * random.uniform(0.75, 1.1))
    canvas.mark_sheet((distance < MARK_MM) & (outer < 0))


def _add_rod(canvas: Canvas, bone_hu: float, mix: Mix, random: np.random.Generator) -> None:
    """A process or strut: a tapering rod of bone of 1-5 mm."""
    grid = canvas.grid
    path = shapes.curve(_centre(grid, random), shapes.direction(random), random.uniform(0, 2.0), random)
    away, s = shapes.curve_distance(grid, path, random.uniform(1.0, 2.0))
    taper = random.uniform(0.5, 2.5) * np.clip(1.0 - s / random.uniform(8.0, 30.0), 0.05, 1.5)
    _solid(canvas, np.asarray(away - taper, dtype=np.float32), bone_hu, mix, random)


def _canal_radius(random: np.random.Generator) -> float:
    """Half of a calibre of 0.5-3.6 mm; two in three between 0.6 and 1.6 mm, where patency is decided."""
    calibre = log_uniform(random, 0.6, 1.6) if random.uniform() < 0.65 else log_uniform(random, 0.5, 3.6)
    return 0.5 * calibre


def _add_canals(canvas: Canvas, bone_hu: float, mix: Mix, random: np.random.Generator) -> None:
    """Curved canals, most through thick bone, some with a wall of their own, some enhanced."""
    grid = canvas.grid
    for _ in range(int(random.integers(1, 7))):
        origin = canvas.point_in_bone(random) if random.uniform() < 0.85 else _centre(grid, random)
        if origin is None:
            return
        path = shapes.curve(origin, shapes.direction(random), log_uniform(random, 0.1, 3.0), random)
        wall_mm = log_uniform(random, 0.15, 0.9) if random.uniform() < 0.35 else 0.0
        length = random.uniform(6.0, 20.0) if random.uniform() < 0.3 else None
        _draw_canal(canvas, path, _canal_radius(random), wall_mm, (length, bone_hu), mix, random)


def _draw_canal(
    canvas: Canvas,
    path: Curve,
    radius_mm: float,
    wall_mm: float,
    reach: tuple[float | None, float] | None,
    mix: Mix,
    random: np.random.Generator,
) -> None:
    """One canal; `reach` is (length or None for unbounded, HU of the wall)."""
    flatness = random.uniform(1.0, 1.8) if random.uniform() < 0.35 else 1.0
    away, s = shapes.curve_distance(canvas.grid, path, flatness)
    length, wall_hu = reach if reach is not None else (None, 0.0)
    if length is not None:
        away = np.asarray(away + np.maximum(np.abs(s) - 0.5 * length, 0.0), dtype=np.float32)
    content = random.uniform(*CONTRAST_HU) if random.uniform() < mix.contrast else medium(random, air=0.12)
    before = canvas.bone > 0.5
    if wall_mm > 0.0:
        shell = shapes.inside_fraction(away - (radius_mm + wall_mm), canvas.grid.step_mm)
        inner = shapes.inside_fraction(away - radius_mm, canvas.grid.step_mm)
        canvas.ossify(shell - inner, wall_hu)
        medial = np.abs(away - radius_mm - 0.5 * wall_mm) < MARK_MM
        canvas.mark_sheet(medial & ~before & (away > radius_mm))
    swing = random.uniform(0.0, 0.25) if random.uniform() < 0.5 else 0.0
    rate = 2 * np.pi / random.uniform(5.0, 20.0)
    radius: FloatArray | float = radius_mm
    if swing and wall_mm == 0.0:
        radius = np.asarray(radius_mm * (1 + swing * np.sin(rate * s)), dtype=np.float32)
    _carve(canvas, away, radius, content, wall_mm)


def _carve(canvas: Canvas, away: FloatArray, radius: FloatArray | float, content_hu: float, wall_mm: float) -> None:
    """Remove a tube from the bone, fill it, and mark what of it ran through bone."""
    step_mm = canvas.grid.step_mm
    within = away < np.maximum(radius, MARK_MM)
    through: NDArray[np.bool_] = within if wall_mm > 0.0 else within & (canvas.bone > 0.5)
    fraction = shapes.inside_fraction(away - shapes.tube_radius(radius, step_mm), step_mm)
    canvas.fill(fraction, content_hu)
    canvas.lumen |= through


def _add_skin(canvas: Canvas, random: np.random.Generator) -> None:
    """Skin over fat over muscle, air outside, at times hair, an ear or a cushion. Bone keeps 2 mm below."""
    grid = canvas.grid
    distance = _surface(grid, random, random.uniform(0.2, 2.0))
    fat_mm = random.uniform(0.0, 8.0)
    skin_mm = random.uniform(1.0, 3.0)
    layer = shapes.inside_fraction(-(distance + skin_mm + fat_mm), grid.step_mm)
    canvas.fill(layer, random.uniform(*MEDIA_HU["fat"]))
    canvas.fill(shapes.inside_fraction(-(distance + skin_mm), grid.step_mm), random.uniform(20.0, 110.0))
    canvas.fill(shapes.inside_fraction(-distance, grid.step_mm), -1000.0)
    draws = random.uniform(size=3)
    if draws[0] < 0.35:
        hair = np.clip(shapes.smooth_field(grid, 26, random), 0, 1) * random.uniform(50, 700)
        canvas.hu += hair * ((distance > 0) & (distance < random.uniform(1.0, 6.0)))
    if draws[1] < 0.5:
        cushion = shapes.inside_fraction(random.uniform(0.0, 5.0) - distance, grid.step_mm)
        canvas.fill(cushion, random.uniform(-900.0, -50.0))
    if draws[2] < 0.35:
        _soft_sheet(canvas, distance > 0, random)
    canvas.allowed = shapes.inside_fraction(distance + skin_mm + random.uniform(0.3, 3.0), grid.step_mm)


def _soft_sheet(canvas: Canvas, where: NDArray[np.bool_], random: np.random.Generator) -> None:
    """A fold of skin, cartilage or plastic: thin, in air, and not bone."""
    distance = _surface(canvas.grid, random, random.uniform(0.2, 2.5))
    fold = shapes.slab_fraction(distance, random.uniform(0.8, 3.5), canvas.grid.step_mm)
    canvas.surround(fold * where, random.uniform(-60.0, 130.0))


def _add_soft_folds(canvas: Canvas, random: np.random.Generator) -> None:
    """Turbinates, lids and folds without any bone."""
    for _ in range(int(random.integers(1, 5))):
        _add_region(canvas, random)
        _soft_sheet(canvas, np.ones(canvas.grid.shape, dtype=np.bool_), random)
    _add_distractors(canvas, random)


def _add_distractors(canvas: Canvas, random: np.random.Generator) -> None:
    """Enhanced vessels on bone, calcified falx, calcified spots, soft folds, metal with streaks."""
    draws = random.uniform(size=5)
    if draws[0] < 0.3:
        _add_vessels(canvas, random)
    if draws[1] < 0.06:
        distance = _surface(canvas.grid, random, random.uniform(0.1, 1.0))
        falx = shapes.slab_fraction(distance, random.uniform(1.0, 3.0), canvas.grid.step_mm)
        canvas.surround(falx, random.uniform(90.0, 350.0))
    if draws[2] < 0.08:
        centre = _centre(canvas.grid, random)
        spot = shapes.ball_distance(canvas.grid, centre, random.uniform(0.8, 4.0, 3))
        canvas.surround(shapes.inside_fraction(spot, canvas.grid.step_mm), random.uniform(80.0, 450.0))
    if draws[3] < 0.15:
        _soft_sheet(canvas, canvas.hu < -500.0, random)
    if draws[4] < 0.05:
        _add_metal(canvas, random)


def _add_vessels(canvas: Canvas, random: np.random.Generator) -> None:
    """Enhanced vessels; half of them lie on a bone surface."""
    grid = canvas.grid
    for _ in range(int(random.integers(1, 4))):
        surface = canvas.point_on((canvas.bone > 0.05) & (canvas.bone < 0.9), random)
        origin = surface if surface is not None and random.uniform() < 0.6 else _centre(grid, random)
        path = shapes.curve(origin, shapes.direction(random), random.uniform(0.5, 4.0), random)
        away, _ = shapes.curve_distance(grid, path)
        tube = shapes.inside_fraction(away - random.uniform(0.5, 3.0), grid.step_mm)
        canvas.surround(tube, random.uniform(*CONTRAST_HU))


def _add_metal(canvas: Canvas, random: np.random.Generator) -> None:
    """A clip, screw or filling above the range of 12 bits, with rays in the slice plane."""
    grid = canvas.grid
    centre = _centre(grid, random)
    if random.uniform() < 0.5:
        body = shapes.ball_distance(grid, centre, random.uniform(0.5, 2.5, 3))
    else:
        path = shapes.curve(centre, shapes.direction(random), 0.0, random)
        away, s = shapes.curve_distance(grid, path)
        body = np.maximum(away - random.uniform(0.3, 1.2), np.abs(s) - random.uniform(1.0, 5.0))
    solid = shapes.inside_fraction(np.asarray(body, dtype=np.float32), grid.step_mm)
    canvas.fill(solid, random.uniform(3500, 9000))
    z, y, x = grid.axes()
    radius = np.sqrt((y - centre[1]) ** 2 + (x - centre[2]) ** 2) + 1.0
    angle = np.arctan2(y - centre[1], x - centre[2])
    rays = np.zeros(radius.shape, dtype=np.float32)
    for _ in range(4):
        rays += np.cos(random.integers(1, 9) * angle + random.uniform(0, 6.28)).astype(np.float32)
    near = np.exp(-0.5 * ((z - centre[0]) / random.uniform(1.0, 3.0)) ** 2)
    canvas.hu += random.uniform(50, 600) * near * rays / radius
