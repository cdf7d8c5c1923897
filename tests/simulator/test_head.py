"""The simulated head holds the plates and canals that its truth names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sbnode.series import read_instance
from simulator.anatomy import AIR_HU, BONE_HU, CANALS, PLATES, Canal, Plate, draw_head
from simulator.head import simulate_head, write_head
from simulator.slab import Slab

CELL_MM = 0.1


def _drawn(centre: np.ndarray, half_mm: tuple[float, float, float]) -> Slab:
    lines = [
        c + CELL_MM * np.arange(-round(h / CELL_MM), round(h / CELL_MM) + 1)
        for c, h in zip(centre, half_mm, strict=True)
    ]
    slab = Slab.of(lines[0], lines[1], lines[2], CELL_MM, air_hu=AIR_HU, bone_hu=BONE_HU)
    draw_head(slab, np.random.default_rng(1))
    return slab


@pytest.mark.parametrize("plate", PLATES, ids=lambda plate: plate.name)
def test_a_plate_has_its_thickness_all_over_and_nothing_beside_it(plate: Plate) -> None:
    others = [axis for axis in range(3) if axis != plate.axis]
    for corner in ((0.0, 0.0), (-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)):
        place = np.array(plate.centre_mm)
        place[others] += np.multiply(plate.half_mm, corner)
        half = [0.1, 0.1, 0.1]
        half[plate.axis] = 1.2
        bone = _drawn(place, (half[0], half[1], half[2])).bone.transpose(2, 1, 0)
        thickness = bone.sum(axis=plate.axis) * CELL_MM
        assert thickness[1, 1] == pytest.approx(plate.thickness_mm, abs=0.03), corner


@pytest.mark.parametrize("canal", CANALS, ids=lambda canal: canal.name)
def test_a_canal_is_free_of_bone_and_runs_through_bone(canal: Canal) -> None:
    reach = canal.radius_mm + 1.0
    walls = []
    for start, end in zip(canal.path_mm[:-1], canal.path_mm[1:], strict=True):
        for t in np.linspace(0, 1, 5):
            place = np.add(start, t * np.subtract(end, start))
            slab = _drawn(place, (reach, reach, reach))
            away = np.sqrt((slab.x - place[0]) ** 2 + (slab.y - place[1]) ** 2 + (slab.z - place[2]) ** 2)
            assert slab.bone[away < canal.radius_mm - CELL_MM].max() < 0.01
            walls.append(slab.bone[away > canal.radius_mm + 0.3].mean())
    assert max(walls) > 0.4


def test_the_thinnest_and_widest_of_the_truth() -> None:
    assert {plate.thickness_mm for plate in PLATES} <= {0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0}
    assert min(canal.radius_mm for canal in CANALS) == 0.5
    assert len({plate.name for plate in PLATES}) == len(PLATES)


def test_a_small_scan_shows_brain_bone_and_air_and_is_written(tmp_path: Path) -> None:
    head = simulate_head(slices=4, rows=96, spacing_mm=(2.0, 2.0, 2.0), noise_hu=20.0, centre_mm=(0.0, 13.5, 30.0))
    row, column = 48, 48
    assert head.hu[2, row, column] == pytest.approx(36, abs=80)
    assert head.hu.max() > 900
    assert head.hu[2, 0, 0] < -900
    paths = write_head(tmp_path, head)
    assert len(paths) == 4
    assert read_instance(paths[0]).position_mm == pytest.approx(tuple(head.stack.origins_mm[0]))


def test_the_same_seed_gives_the_same_scan() -> None:
    scans = [simulate_head(slices=2, rows=64, spacing_mm=(2.0, 3.0, 3.0), seed=seed).hu for seed in (1, 1, 2)]
    assert np.array_equal(scans[0], scans[1])
    assert not np.array_equal(scans[0], scans[2])
