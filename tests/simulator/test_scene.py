"""Scenes of the training grammar: repeatable, consistent, varied."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.scene import random_scene
from simulator.shapes import FineGrid

GRID = FineGrid(count=48, step_mm=0.2)


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    first, again, other = random_scene(3, 5, GRID), random_scene(3, 5, GRID), random_scene(3, 6, GRID)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.lumen, again.lumen)
    assert not np.array_equal(first.hu, other.hu)


@pytest.mark.parametrize("index", range(4))
def test_fractions_and_marks_agree(index: int) -> None:
    scene = random_scene(1, index, GRID)
    assert scene.hu.shape == GRID.shape
    assert float(scene.bone.min()) >= 0.0
    assert float(scene.bone.max()) <= 1.0
    assert not (scene.sheet & (scene.bone <= 0.02)).any()
    assert not (scene.lumen & (scene.bone >= 0.4)).any()
    assert not (scene.sheet & scene.lumen).any()
    assert float(np.median(scene.hu[scene.bone > 0.99])) > 300.0 if (scene.bone > 0.99).any() else True


def test_the_grammar_draws_sheets_lumina_and_scenes_without_bone() -> None:
    scenes = [random_scene(2, index, GRID) for index in range(16)]
    assert sum(scene.sheet.any() for scene in scenes) > 5
    assert sum(scene.lumen.any() for scene in scenes) > 5
    assert any(scene.bone.max() == 0.0 for scene in scenes)
