"""The adaptive threshold keeps a thin plate and an open canal that no single threshold keeps together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from sbnode.config import Threshold
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.inference.occupancy import Occupancy
from sbnode.inference.threshold import adaptive_threshold

SPACING_MM = 0.4
# The network's own blur in a trial: about that of a bone kernel of 0.7 mm FWHM.
BLUR_CELLS = 0.7 / 2.355 / SPACING_MM


def occupancy(bone: np.ndarray) -> Occupancy:
    grid = Grid(
        origin_mm=np.zeros(3),
        axes=np.eye(3),
        spacing_mm=SPACING_MM,
        shape=(bone.shape[0], bone.shape[1], bone.shape[2]),
    )
    values = bone.astype(np.float16)
    nothing = np.zeros_like(values)
    return Occupancy(grid=grid, bone=values, sheet=nothing, lumen=nothing)


def cut(bone: np.ndarray) -> Bone:
    return adaptive_threshold(occupancy(bone), Threshold())


def plate_and_canal() -> np.ndarray:
    """A plate of 0.24 mm at slice 10, joined to solid bone above slice 40 that holds a canal of 0.8 mm."""
    field = np.zeros((80, 40, 40))
    field[10] = 0.6
    field[40:] = 1.0
    field[10:40, :, :2] = 1.0
    k, c = np.meshgrid(np.arange(80), np.arange(40), indexing="ij")
    canal = np.hypot(k - 60, c - 20) * SPACING_MM < 0.41
    field[np.broadcast_to(canal[:, None, :], field.shape)] = 0.15
    return np.asarray(ndimage.gaussian_filter(field, BLUR_CELLS))


def test_one_threshold_keeps_either_the_plate_or_the_canal() -> None:
    field = plate_and_canal()
    plate, canal = field[10, 20, 20], field[60, 20, 20]
    assert plate < canal < 0.5


def test_plate_is_kept_and_canal_stays_open_at_once() -> None:
    bone = cut(plate_and_canal())
    assert bone.mask[10, :, 8:].all()
    assert not bone.mask[60, :, 20].any()
    assert bone.mask[50].all()


def test_the_kept_plate_is_marked_as_inferred_and_solid_bone_is_not() -> None:
    bone = cut(plate_and_canal())
    assert bone.inferred[10, :, 8:].all()
    assert not bone.inferred[45:].any()
    assert (bone.level[bone.inferred] > 0).all()


def test_faint_specks_are_dropped_by_hysteresis() -> None:
    field = np.zeros((30, 30, 30))
    field[10, 10, 10] = 0.4
    field[20, 20, 20] = 0.9
    bone = cut(field)
    assert not bone.mask[10, 10, 10]
    assert bone.mask[20, 20, 20]


def test_slabs_give_the_same_result_as_the_whole() -> None:
    field = ndimage.gaussian_filter(np.random.default_rng(3).uniform(0, 1, (120, 24, 24)), 1.0)
    field = (field - field.min()) / np.ptp(field)
    whole = cut(field)
    part = cut(field[30:])
    # Hysteresis may join a component beyond the cut, so only the level of what both call bone is compared.
    both = whole.mask[50:] & part.mask[20:]
    assert both.any()
    assert np.array_equal(whole.level[50:][both], part.level[20:][both])


def test_nothing_gives_nothing() -> None:
    bone = cut(np.zeros((20, 20, 20)))
    assert not bone.mask.any()
    assert bone.volume_ml == 0
    assert bone.inferred_share == 0


def test_bone_outside_the_region_is_cut_away() -> None:
    field = np.full((20, 20, 20), 1.0)
    inside = np.ones((20, 20, 20), np.float32)
    inside[:, :, 10:] = 0
    bone = cut(field).within(inside)
    assert bone.mask[:, :, :10].all()
    assert not bone.mask[:, :, 10:].any()
    assert bone.volume_ml == 20 * 20 * 10 * SPACING_MM**3 / 1000


def test_evidence_of_a_canal_raises_the_threshold_unless_a_thin_sheet_is_seen_too() -> None:
    field = np.full((24, 24, 24), 0.6)
    values = field.astype(np.float16)
    lumen = np.zeros_like(values)
    lumen[8:16] = 1.0
    sheet = np.zeros_like(values)
    sheet[12:16] = 1.0
    bare = occupancy(field)
    seen = Occupancy(grid=bare.grid, bone=values, sheet=sheet, lumen=lumen)
    mask = adaptive_threshold(seen, Threshold()).mask
    assert mask[:8].all()
    assert not mask[8:12].any()
    assert mask[12:16].all()


def test_canals_and_plates_are_marked_by_their_evidence() -> None:
    field = np.ones((30, 30, 30))
    field[:, 10:12, 10:12] = 0.1
    lumen, sheet = np.zeros((2, 30, 30, 30), np.float16)
    lumen[:, 9:12, 10:12] = 0.9
    sheet[:, 19, 19:23] = sheet[:, 10, 10] = 0.9
    bone = adaptive_threshold(replace(occupancy(field), lumen=lumen, sheet=sheet), Threshold())
    assert np.array_equal(bone.canal, (lumen > 0.5) & ~bone.mask)
    assert bone.canal[:, 10:12, 10:12].all()
    assert np.array_equal(bone.plate, (sheet > 0.5) & bone.mask)
    assert bone.plate[:, 19, 19:23].all()
    assert not bone.plate[:, 10, 10].any()


def test_a_faint_plate_is_joined_along_its_middle_and_a_hole_in_it_stays() -> None:
    # Beside strong plates the half-way value lies above what is left of a faint one.
    field = np.zeros((30, 30, 30))
    field[12] = field[18] = 1.0
    field[15] = 0.2
    field[15, 12:18, 12:18] = 0.1
    field[:, :, :4] = 1.0
    sheet = np.zeros((30, 30, 30), np.float16)
    sheet[15] = 0.9
    faint = replace(occupancy(field), sheet=np.zeros_like(sheet))
    assert not adaptive_threshold(faint, Threshold()).mask[15, :10, 8:].any()
    joined = adaptive_threshold(replace(faint, sheet=sheet), Threshold())
    assert joined.mask[15, :10, 8:].all()
    assert joined.inferred[15, :10, 8:].all()
    assert not joined.mask[15, 12:18, 12:18].any()
    assert not joined.mask[14, :10, 8:].any()
    lumen = np.zeros_like(sheet)
    lumen[16, :4, 20] = 0.9
    beside_canal = adaptive_threshold(replace(faint, sheet=sheet, lumen=lumen), Threshold())
    assert not beside_canal.mask[15, :3, 20].any()
    assert beside_canal.mask[15, :3, 23:].all()


def test_a_few_cells_with_evidence_of_a_canal_are_noise_and_weak_evidence_far_from_a_core_counts_for_nothing() -> None:
    # Bone of 0.7 everywhere: evidence of a canal makes a hole in it.
    whole = occupancy(np.full((60, 40, 40), 0.7))
    lumen = np.zeros((60, 40, 40), np.float16)
    lumen[10, 20, 10:15] = 0.6  # five cells: noise
    lumen[30, 20, 5:35] = 0.6  # a canal ...
    lumen[30, 21, 5:35] = 0.15  # ... and beside it, where it is less clear
    lumen[50] = 0.15  # weak evidence all over a slice
    bone = adaptive_threshold(replace(whole, lumen=lumen), Threshold())
    assert bone.mask[10].all()
    assert not bone.mask[30, 20, 5:35].any()
    assert not bone.mask[30, 21, 5:35].any()
    assert bone.mask[50].all()


def test_evidence_of_a_sheet_lowers_the_threshold_more_where_the_plate_is_faint() -> None:
    def lowered(share: float) -> float:
        """How much the evidence of a sheet raises the level in the middle of a plate with so much bone."""
        field = np.zeros((40, 30, 30))
        field[20] = share
        sheet = np.zeros(field.shape, np.float16)
        sheet[20] = 1.0
        given = replace(occupancy(field), sheet=sheet)
        with_it, without = (
            adaptive_threshold(given, Threshold(sheet_shift=shift, lowest=0.0)).level for shift in (0.1, 0.0)
        )
        return float(with_it[20, 15, 15] - without[20, 15, 15])

    faint, clear = lowered(0.5), lowered(1.0)
    assert faint > 0.04
    assert faint > 1.5 * clear


def test_a_canal_that_is_lost_in_places_is_kept_open_along_its_line() -> None:
    along = np.full(60, 0.5)
    along[28:32] = 0.18  # here the evidence is too weak to raise the threshold above the occupancy
    lumen = np.zeros((30, 30, 60), np.float16)
    lumen[14:17, 14:17] = 0.5 * along
    lumen[15, 15] = along
    given = replace(occupancy(np.ones(lumen.shape)), lumen=lumen)

    def open_cells(changed: Occupancy) -> np.ndarray:
        return adaptive_threshold(changed, Threshold()).level[15, 15, 4:-4] < 0

    assert open_cells(given).all()
    assert not open_cells(replace(given, sheet=np.where(lumen > 0, np.float16(1), np.float16(0)))).any()
    short = np.where((np.arange(60) > 24) & (np.arange(60) < 30), lumen, np.float16(0))
    assert not open_cells(replace(given, lumen=short)).any()
