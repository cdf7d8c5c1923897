"""Every wanted cell in one tile, none too large, on the network's strides, and little computed in vain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sbnode.inference.tiling import Tiling, cut

TILING = Tiling(size=64, halo=8, multiple_of=8)


def blobs(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    noise = np.random.default_rng(seed).standard_normal((101, 140, 93))
    return np.asarray(ndimage.gaussian_filter(noise, 9) > 0.01)


def seen(tile: object) -> int:
    return int(np.prod([stop - start + 2 * 8 for start, stop in zip(tile.starts, tile.stops, strict=True)]))  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(5))
def test_each_wanted_cell_is_answered_once_and_no_tile_is_too_large(seed: int) -> None:
    wanted = blobs(seed)
    answers = np.zeros(wanted.shape, int)
    for tile in cut(wanted, TILING):
        answers[tile.core] += 1
        assert all(start % 8 == 0 and stop % 8 == 0 for start, stop in zip(tile.starts, tile.stops, strict=True))
        assert seen(tile) <= 64**3
    assert answers.max() == 1
    assert (answers[wanted] == 1).all()


def test_two_far_corners_are_not_joined() -> None:
    wanted = np.zeros((200, 200, 200), np.bool_)
    wanted[3, 3, 3] = wanted[196, 196, 196] = True
    tiles = list(cut(wanted, Tiling(size=512, halo=8, multiple_of=8)))
    assert [tile.core[0] for tile in tiles] == [slice(0, 8), slice(192, 200)]


def test_a_dense_box_that_fits_stays_whole() -> None:
    (tile,) = cut(np.ones((48, 40, 33), np.bool_), TILING)
    assert (tile.starts, tile.stops) == ((0, 0, 0), (48, 40, 40))


def test_nothing_wanted_gives_no_tile() -> None:
    assert not list(cut(np.zeros((20, 20, 20), np.bool_), TILING))


def test_a_large_dense_grid_is_cut_into_parts_of_like_size() -> None:
    sizes = [seen(tile) for tile in cut(np.ones((160, 160, 160), np.bool_), TILING)]
    assert min(sizes) > 0.3 * max(sizes)
