"""The test grammar: six kinds of rigid analytic test objects, none of which the training draws.

Lattice of plates between bars, slab with canals, dehiscent dome, plate beside canal, Voronoi honeycomb,
petrous block with arched canals. All but the honeycomb have an enhanced vessel on bone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.accuracy.phantom import (
    AXIS_STEP_MM,
    CELLS,
    LENGTH_MM,
    STEP_MM,
    FloatArray,
    Frame,
    Passage,
    Phantom,
    Points,
    Samples,
    Truth,
    cover,
    random_frame,
    scored,
    straight,
)
from simulator.shapes import apply_axes

PAIRS_HU = ((35.0, -100.0), (-1000.0, -100.0), (-1000.0, 40.0), (35.0, 55.0))
"""Media on the two sides: brain and fat, air and fat, air and mucosa, brain and muscle."""

PLATES_MM = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
CANALS_MM = (0.8, 0.9, 1.0, 1.2, 1.4, 1.5)
HOLES_MM = (0.5, 0.8, 1.2, 2.0, 3.0)


def build(kind: str, seed: int) -> tuple[FloatArray, Truth]:
    """HU (slice, row, column) on cells of 0.1 mm and the truth of one test object."""
    random = np.random.default_rng((seed, sorted(KINDS).index(kind)))
    phantom = KINDS[kind](random)
    return phantom.hu, phantom.truth()


def _bone_hu(random: np.random.Generator) -> float:
    return float(random.uniform(1100.0, 1700.0))


def _pair(random: np.random.Generator) -> tuple[float, float]:
    pair = PAIRS_HU[int(random.integers(len(PAIRS_HU)))]
    return pair if random.uniform() < 0.5 else (pair[1], pair[0])


def _two_sides(phantom: Phantom, w: FloatArray, pair: tuple[float, float]) -> None:
    phantom.put(cover(w), pair[0])
    phantom.put(cover(-w), pair[1])


def _vessel(phantom: Phantom, frame: Frame, local: tuple[FloatArray, ...], at: Points, radius_mm: float) -> None:
    """An enhanced vessel along local u, beside bone."""
    _, v, w = local
    phantom.put_beside(cover(np.hypot(v - at[1], w - at[2]) - np.float32(radius_mm)), 280.0)


def _flat_samples(
    frame: Frame, normal: int, at_mm: float, half_mm: float, thickness_mm: float, random: np.random.Generator
) -> Samples:
    """300 points on a flat square plate across local axis `normal`."""
    local = random.uniform(-half_mm, half_mm, (300, 3))
    local[:, normal] = at_mm
    normals = np.zeros((300, 3))
    normals[:, normal] = 1.0
    return Samples(
        points_mm=frame.to_scene(local),
        normals=frame.turn(normals),
        thickness_mm=np.full(300, thickness_mm),
    )


def lattice(random: np.random.Generator) -> Phantom:
    """Bars of 2.5 mm around a window; three plates close it, each between other media."""
    phantom = Phantom.filled(35.0)
    frame = random_frame(random)
    u, v, w = frame.local()
    levels = (-4.5, 0.0, 4.5)
    media = random.permutation([35.0, -100.0, -1000.0, 50.0])
    for floor, hu in zip((-99.0, *levels), media, strict=True):
        phantom.put(cover(floor - w), float(hu))
    bone_hu = _bone_hu(random)
    for level, thickness in zip(levels, random.choice(PLATES_MM, 3, replace=False), strict=True):
        phantom.put(cover(np.abs(w - level) - np.float32(0.5 * thickness)), bone_hu, bone=True)
        phantom.add_plate(_flat_samples(frame, 2, level, 3.4, float(thickness), random))
    bar = np.float32(1.25)
    for across in (u, v):
        bars = np.maximum(np.abs(np.abs(across) - 6.0) - bar, np.abs(w) - np.float32(7.0))
        phantom.put(cover(bars), bone_hu * 1.05, bone=True)
    _vessel(phantom, frame, (u, v, w), np.array([0.0, 2.0, 1.7]), 1.2)
    return phantom


def slab(random: np.random.Generator) -> Phantom:
    """A slab of 4-8 mm, compact or with a spongy core, pierced by straight oblique canals."""
    pair = _pair(random)
    phantom = Phantom.filled(pair[0])
    frame = random_frame(random)
    u, v, w = frame.local()
    _two_sides(phantom, w, pair)
    half = 0.5 * random.uniform(4.0, 8.0)
    bone_hu = _bone_hu(random)
    phantom.put(cover(np.abs(w) - np.float32(half)), bone_hu, bone=True)
    if random.uniform() < 0.5:
        phantom.put(cover(np.abs(w) - np.float32(half - 1.2)), 0.55 * bone_hu, bone=True)
    calibres = random.permutation([*random.choice(CANALS_MM, 4), *random.uniform(1.8, 3.0, 1)])
    sites = random.permutation(np.array([[0, 0], [-4.2, -3.6], [-3.8, 3.9], [4.0, -4.0], [3.7, 4.1]]))
    for site, calibre in zip(sites, calibres, strict=True):
        _pierce(phantom, frame, (u, v, w), (float(site[0]), float(site[1])), half, float(calibre), random)
    _vessel(phantom, frame, (u, v, w), np.array([0.0, 1.0, half + 1.0]), 1.0)
    return phantom


def _pierce(
    phantom: Phantom,
    frame: Frame,
    local: tuple[FloatArray, FloatArray, FloatArray],
    site: tuple[float, float],
    half_mm: float,
    calibre_mm: float,
    random: np.random.Generator,
) -> None:
    u, v, w = local
    tilt, turn = random.uniform(0.0, 0.6), random.uniform(0.0, 2.0 * np.pi)
    along = np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])
    start = np.array([site[0], site[1], 0.0])
    s = (u - start[0]) * along[0] + (v - start[1]) * along[1] + w * along[2]
    squared = (u - start[0]) ** 2 + (v - start[1]) ** 2 + w**2 - s**2
    away = np.sqrt(np.maximum(squared, 0.0))
    inside = cover(np.maximum(away - np.float32(0.5 * calibre_mm), np.abs(w) - np.float32(half_mm)))
    phantom.put(inside, float(random.choice([10.0, 40.0, 60.0, -90.0, 220.0])))
    reach = half_mm / along[2]
    phantom.add_canal(straight(frame, start - reach * along, along, 2 * reach, 0.5 * calibre_mm))


def dome(random: np.random.Generator) -> Phantom:
    """A spherical plate with round holes of 0.5-3 mm: true dehiscences."""
    pair = _pair(random)
    phantom = Phantom.filled(pair[0])
    frame = random_frame(random)
    u, v, w = frame.local()
    radius = random.uniform(15.0, 40.0)
    distance = np.sqrt(u**2 + v**2 + (w + np.float32(radius)) ** 2) - np.float32(radius)
    _two_sides(phantom, distance, pair)
    thickness = float(random.choice(PLATES_MM))
    plate = cover(np.abs(distance) - np.float32(0.5 * thickness))
    sites = np.array([[0.0, 0.0], [-4.3, -3.9], [-3.9, 4.2], [4.2, -3.8], [4.0, 4.0]])
    spans = random.permutation(HOLES_MM)
    for site, span in zip(sites, spans, strict=True):
        plate = plate * cover(np.float32(0.5 * span) - np.hypot(u - site[0], v - site[1]))
        phantom.add_hole(_hole(frame, site, radius, thickness, float(span)))
    phantom.put(plate, _bone_hu(random), bone=True)
    phantom.add_plate(_dome_samples(frame, radius, thickness, sites, spans, random))
    _vessel(phantom, frame, (u, v, w), np.array([0.0, 2.1, 0.9]), 0.9)
    return phantom


def _hole(frame: Frame, site: Points, radius_mm: float, thickness_mm: float, span_mm: float) -> Passage:
    height = float(np.sqrt(radius_mm**2 - site @ site)) - radius_mm
    reach = 0.5 * thickness_mm + 0.5
    start = np.array([site[0], site[1], height - reach])
    return straight(frame, start, np.array([0.0, 0.0, 1.0]), 2 * reach, 0.5 * span_mm)


def _dome_samples(
    frame: Frame,
    radius_mm: float,
    thickness_mm: float,
    sites: Points,
    spans: Points,
    random: np.random.Generator,
) -> Samples:
    """Points on the dome, 0.8 mm or more from every rim."""
    flat = random.uniform(-7.0, 7.0, (600, 2))
    gap = np.linalg.norm(flat[:, None] - sites[None], axis=2) - 0.5 * spans[None]
    flat = flat[(gap > 0.8).all(axis=1)]
    height = np.sqrt(radius_mm**2 - (flat**2).sum(axis=1))
    normals = np.column_stack([flat, height]) / radius_mm
    local = np.column_stack([flat, height - radius_mm])
    return Samples(
        points_mm=frame.to_scene(local),
        normals=frame.turn(normals),
        thickness_mm=np.full(len(flat), thickness_mm),
    )


def beside(random: np.random.Generator) -> Phantom:
    """Thick bone with a canal close under its face, and a plate over a narrow gap before it."""
    pair = _pair(random)
    phantom = Phantom.filled(pair[0])
    frame = random_frame(random)
    u, v, w = frame.local()
    bone_hu = _bone_hu(random)
    gap, thickness = random.uniform(0.6, 1.5), float(random.choice(PLATES_MM[:4]))
    middle = gap + 0.5 * thickness
    _two_sides(phantom, middle - w, pair)
    phantom.put(cover(np.maximum(w, -w - np.float32(7.0))), bone_hu, bone=True)
    phantom.put(cover(np.abs(w - np.float32(middle)) - np.float32(0.5 * thickness)), bone_hu * 0.9, bone=True)
    phantom.add_plate(_flat_samples(frame, 2, middle, 6.0, thickness, random))
    spots = random.uniform(-6.0, 6.0, (400, 3))
    spots[:, 2] = 0.5 * gap
    phantom.gaps_mm.append(frame.to_scene(spots))
    for v_mm in (-3.5, 0.3, 3.9):
        calibre, wall = float(random.choice(CANALS_MM)), float(random.uniform(0.4, 1.5))
        depth = wall + 0.5 * calibre
        away = np.hypot(v - np.float32(v_mm), w + np.float32(depth))
        phantom.put(cover(away - np.float32(0.5 * calibre)), float(random.choice([10.0, 40.0, 220.0])))
        start = np.array([-7.0, v_mm, -depth])
        phantom.add_canal(straight(frame, start, np.array([1.0, 0.0, 0.0]), 14.0, 0.5 * calibre))
    _vessel(phantom, frame, (u, v, w), np.array([0.0, 1.0, gap + thickness + 1.1]), 1.0)
    return phantom


def honeycomb(random: np.random.Generator) -> Phantom:
    """Voronoi cells with walls of 0.2-0.5 mm, filled with air or mucosa, inside a bony shell."""
    phantom = Phantom.filled(float(random.choice([35.0, 50.0])))
    frame = random_frame(random)
    u, v, w = frame.local()
    bone_hu = _bone_hu(random)
    radius = np.sqrt(u**2 + v**2 + w**2)
    phantom.put(cover(radius - np.float32(9.0)), bone_hu, bone=True)
    phantom.put(cover(radius - np.float32(7.8)), -1000.0 if random.uniform() < 0.75 else 30.0)
    seeds = _spread(random.uniform(-7.0, 7.0, (200, 3)), 3.2)
    wall = float(random.choice([0.2, 0.3, 0.4, 0.5]))
    bisector = _bisector_distance((u, v, w), seeds)
    walls = cover(bisector - np.float32(0.5 * wall)) * cover(radius - np.float32(8.2))
    phantom.put(walls, bone_hu * 0.9, bone=True)
    phantom.add_plate(_wall_samples(frame, seeds, wall, random))
    return phantom


def _spread(candidates: Points, apart_mm: float) -> Points:
    """Greedy choice of points at least `apart_mm` from each other."""
    kept: list[Points] = []
    for point in candidates:
        if all(np.linalg.norm(point - other) > apart_mm for other in kept):
            kept.append(point)
    return np.stack(kept)


def _bisector_distance(local: tuple[FloatArray, FloatArray, FloatArray], seeds: Points) -> FloatArray:
    """Distance to the nearest wall of the Voronoi diagram: min over others of (d^2 - d1^2) / (2 |s - s1|).

    It is worked out on every second cell and interpolated: between walls it is linear.
    """
    coarse = [x[::2, ::2, ::2] for x in local]
    squares = [
        np.asarray(sum((x - np.float32(c)) ** 2 for x, c in zip(coarse, seed, strict=True)), dtype=np.float32)
        for seed in seeds
    ]
    owner = np.argmin(np.stack(squares), axis=0)
    own = np.min(np.stack(squares), axis=0)
    apart = np.linalg.norm(seeds[:, None] - seeds[None], axis=2).astype(np.float32)
    np.fill_diagonal(apart, np.inf)
    nearest = np.full(own.shape, np.float32(99.0))
    for index, square in enumerate(squares):
        bisector = (square - own) / (2.0 * apart[index][owner])
        nearest = np.where(owner == index, nearest, np.minimum(nearest, bisector))
    weights = np.zeros((CELLS, CELLS // 2), dtype=np.float32)
    at = np.minimum(np.arange(CELLS) / 2.0, CELLS // 2 - 1)
    left = np.minimum(at.astype(int), CELLS // 2 - 2)
    weights[np.arange(CELLS), left] = 1.0 - (at - left)
    weights[np.arange(CELLS), left + 1] = at - left
    return apply_axes(nearest, (weights, weights, weights))


def _wall_samples(frame: Frame, seeds: Points, wall_mm: float, random: np.random.Generator) -> Samples:
    """Random points moved onto their wall, those 0.9 mm or more from a third cell and from the shell."""
    points = random.uniform(-6.5, 6.5, (6000, 3))
    order = np.linalg.norm(points[:, None] - seeds[None], axis=2)
    first, second = np.argsort(order, axis=1)[:, :2].T
    normals = seeds[second] - seeds[first]
    apart = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / apart
    middle = 0.5 * (seeds[first] + seeds[second])
    points = points - ((points - middle) * normals).sum(axis=1, keepdims=True) * normals
    order = np.sort(np.linalg.norm(points[:, None] - seeds[None], axis=2), axis=1)
    keep = (order[:, 1] - order[:, 0] < 1e-6) & (order[:, 2] - order[:, 1] > 0.9)
    keep &= np.linalg.norm(points, axis=1) < 6.6
    return Samples(
        points_mm=frame.to_scene(points[keep][:400]),
        normals=frame.turn(normals[keep][:400]),
        thickness_mm=np.full(min(400, int(keep.sum())), wall_mm),
    )


def petrous(random: np.random.Generator) -> Phantom:
    """A rounded block of dense bone with two arched canals of about 1 mm, a vestibule and air cells."""
    phantom = Phantom.filled(35.0)
    frame = random_frame(random)
    u, v, w = frame.local()
    bone_hu = float(random.uniform(1500.0, 2000.0))
    block = np.sqrt((u / 1.4) ** 2 + v**2 + w**2) - np.float32(6.2)
    phantom.put(cover(v - np.float32(6.5)), -100.0)
    phantom.put(cover(block), bone_hu, bone=True)
    for centre in ((3.8, 3.6, -2.5), (1.0, 4.3, 0.5), (-1.8, 3.9, -1.8), (-4.2, 3.2, 1.8)):
        cell = np.sqrt(sum((x - np.float32(c)) ** 2 for x, c in zip((u, v, w), centre, strict=True)))
        phantom.put(cover(np.asarray(cell - random.uniform(0.5, 1.1), dtype=np.float32)), -1000.0)
    for offset in (-2.6, 0.4):
        calibre = float(random.choice([0.8, 1.0, 1.0, 1.2]))
        _arch(phantom, frame, (u, v, w), offset, calibre, float(random.choice([10.0, 40.0, 60.0])))
    _vessel(phantom, frame, (u, v, w), np.array([0.0, -1.0, 7.0]), 1.2)
    return phantom


def _arch(
    phantom: Phantom,
    frame: Frame,
    local: tuple[FloatArray, FloatArray, FloatArray],
    v_mm: float,
    calibre_mm: float,
    content_hu: float,
) -> None:
    """A canal along an arc of radius 9 mm in the plane v = `v_mm`, through the whole block."""
    u, v, w = local
    bow, low = 9.0, -9.5
    ring = np.hypot(np.hypot(u, w - np.float32(low)) - np.float32(bow), v - np.float32(v_mm))
    upper = np.maximum(ring - np.float32(0.5 * calibre_mm), np.float32(low) - w)
    phantom.put(cover(upper), content_hu)
    angle = np.arange(-1.3, 1.3, AXIS_STEP_MM / bow)
    out = np.column_stack([np.sin(angle), np.zeros(angle.size), np.cos(angle)])
    axis = bow * out + np.array([0.0, v_mm, low])
    inside = np.sqrt((axis[:, 0] / 1.4) ** 2 + axis[:, 1] ** 2 + axis[:, 2] ** 2) < 6.2 - 0.3
    side = np.tile(np.array([0.0, 1.0, 0.0]), (int(inside.sum()), 1))
    phantom.add_canal(
        Passage(
            axis_mm=frame.to_scene(axis[inside]),
            first=frame.turn(out[inside]),
            second=frame.turn(side),
            radius_mm=0.5 * calibre_mm,
        )
    )


KINDS: dict[str, Callable[[np.random.Generator], Phantom]] = {
    "lattice": lattice,
    "slab": slab,
    "dome": dome,
    "beside": beside,
    "honeycomb": honeycomb,
    "petrous": petrous,
}

__all__ = ["KINDS", "LENGTH_MM", "STEP_MM", "build", "scored"]
