"""The region network: what it is shown, and what it says about heads and about other things."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from sbnode.config import Config, Execution, Selection
from sbnode.errors import ModelError
from sbnode.inference import region
from sbnode.inference.anatomy import named_bones
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid, SliceStack
from sbnode.inference.region import BONES, RegionMap, RegionModel, coarse_channels
from sbnode.inference.volume import Volume, read_volume
from sbnode.series import Series, read_instance
from simulator.anatomy import CANALS, PLATES
from simulator.dicom import axial_stack
from simulator.head import simulate_head

CPU = Execution(provider="cpu", threads=1)
PATIENT_AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def _volume(hu: np.ndarray, stack: SliceStack) -> Volume:
    return Volume(hu=hu.astype(np.int16), stack=stack, instances=(), frames=tuple(range(1, len(hu) + 1)))


def _indices(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """The (slice, row, column) index of every voxel, shape (*shape, 3)."""
    return np.moveaxis(np.indices(shape).astype(np.float64), 0, -1)


@pytest.fixture(scope="module")
def model() -> RegionModel:
    return RegionModel.open(Config().model.region, CPU)


@pytest.fixture(scope="module")
def head() -> Volume:
    scan = simulate_head(slices=89, rows=216, spacing_mm=(1.6, 0.9, 0.9), fwhm_mm=0.9)
    return _volume(scan.hu, scan.stack)


def _ball(stack: SliceStack, centre_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    points = stack.to_patient(_indices(stack.shape))
    return np.where(np.linalg.norm(points - centre_mm, axis=-1) < radius_mm, 850, -1000)


@pytest.mark.parametrize("tilt_degrees", [0.0, 20.0, -15.0])
def test_the_cells_show_a_thing_where_it_is_whatever_the_tilt(tilt_degrees: float) -> None:
    stack = axial_stack((50, 90, 80), (2.0, 1.3, 1.3), tilt_degrees=tilt_degrees, centre_mm=(5.0, -20.0, 700.0))
    centre = (18.0, -30.0, 706.0)
    grid, channels = coarse_channels(_ball(stack, centre, 15.0).astype(np.int16), stack)
    cells = grid.to_patient(np.argwhere(channels[0] > 0.5).astype(float))
    assert np.array_equal(grid.axes, PATIENT_AXES)
    assert cells.mean(axis=0) == pytest.approx(centre, abs=1.0)
    assert channels[0].sum() * grid.spacing_mm**3 == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.05)


def test_uneven_slices_are_put_where_they_were_taken() -> None:
    positions = np.concatenate([np.arange(0, 40, 4.0), np.arange(40, 60, 1.0)])
    stack = axial_stack((len(positions), 60, 60), (1.0, 1.0, 1.0), positions_mm=list(positions))
    grid, channels = coarse_channels(_ball(stack, (0.0, 0.0, 45.0), 10.0).astype(np.int16), stack)
    cells = grid.to_patient(np.argwhere(channels[0] > 0.5).astype(float))
    assert cells.mean(axis=0) == pytest.approx((0.0, 0.0, 45.0), abs=1.0)


def test_cells_beyond_the_scan_are_empty() -> None:
    stack = axial_stack((20, 40, 40), (2.0, 2.0, 2.0), tilt_degrees=25.0)
    grid, channels = coarse_channels(np.full(stack.shape, 850, np.int16), stack)
    assert channels[0, 0, -1].max() == 0.0
    assert channels[0, grid.shape[0] // 2, grid.shape[1] // 2, grid.shape[2] // 2] == pytest.approx(1.0)


def test_a_map_is_sampled_between_its_cells_on_a_rotated_grid() -> None:
    coarse = Grid(origin_mm=np.array([-30.0, -30.0, -30.0]), axes=PATIENT_AXES, spacing_mm=3.0, shape=(21, 21, 21))
    up = coarse.to_patient(_indices(coarse.shape))[..., 2]
    found = RegionMap(
        grid=coarse,
        inside=((up + 30) / 60).astype(np.float32),
        bones=np.zeros((len(BONES), *coarse.shape), np.float32),
        place_mm=np.zeros((3, *coarse.shape), np.float32),
        bone_ml=1.0,
        confidence=1.0,
        found=True,
    )
    angle = np.radians(20)
    axes = np.array([[0, -np.sin(angle), np.cos(angle)], [0, np.cos(angle), np.sin(angle)], [1, 0, 0]])
    fine = Grid(origin_mm=np.array([-5.0, -5.0, -5.0]), axes=axes, spacing_mm=0.7, shape=(40, 9, 8))
    points = fine.to_patient(_indices(fine.shape))
    assert found.sample(fine) == pytest.approx((points[..., 2] + 30) / 60, abs=1e-4)
    beyond = Grid(origin_mm=np.array([100.0, 0.0, 0.0]), axes=axes, spacing_mm=0.7, shape=(3, 3, 3))
    assert found.sample(beyond).max() == 0.0


def test_the_simulated_head_has_its_skull_base_where_its_plates_and_canals_are(
    model: RegionModel, head: Volume
) -> None:
    found = model.locate(head)
    assert found.found

    def at(point: tuple[float, ...]) -> float:
        grid = Grid(origin_mm=np.array(point), axes=PATIENT_AXES, spacing_mm=1.0, shape=(1, 1, 1))
        return float(found.sample(grid)[0, 0, 0])

    # Not among them: the orbital floor, where the network is not sure, and the lamina papyracea, which this coarse
    # scan hardly shows.
    plates = [p for p in PLATES if not p.name.endswith(("orbital floor", "lamina papyracea"))]
    missed = [p.name for p in plates if at(p.centre_mm) < 0.5]
    assert missed == []
    # The hypoglossal canal lies where the condyles meet the atlas, a border that is right to about a cell.
    canals = [c for c in CANALS if "hypoglossal" not in c.name]
    middles = [(c.name, np.mean([c.path_mm[0], c.path_mm[-1]], axis=0)) for c in canals]
    assert [name for name, middle in middles if at(tuple(middle)) < 0.5] == []
    vault, jaw, teeth, axis = (-69.0, 17.0, 52.0), (46.0, -8.0, -60.0), (10.0, -60.0, -60.0), (0.0, 43.0, -70.0)
    assert max(at(point) for point in (vault, jaw, teeth, axis)) < 0.5


def test_the_order_of_the_axes_of_the_scan_does_not_matter(model: RegionModel, head: Volume) -> None:
    stack = head.stack
    turned = SliceStack(
        origins_mm=stack.origins_mm[0] + np.outer(np.arange(stack.rows) * stack.row_spacing_mm, stack.column_direction),
        row_direction=np.array([0.0, 0.0, 1.0]),
        column_direction=np.array([1.0, 0.0, 0.0]),
        row_spacing_mm=stack.column_spacing_mm,
        column_spacing_mm=1.6,
        rows=stack.columns,
        columns=len(stack.origins_mm),
    )
    assert turned.normal == pytest.approx(stack.column_direction)
    axial = model.locate(head)
    coronal = model.locate(_volume(head.hu.transpose(1, 2, 0), turned))
    assert coronal.bone_ml == pytest.approx(axial.bone_ml, rel=0.05)


def test_a_vault_alone_and_an_empty_scan_show_no_skull_base(model: RegionModel, head: Volume) -> None:
    stack = axial_stack((30, 60, 60), (3.0, 3.0, 3.0))
    points = stack.to_patient(_indices(stack.shape))
    away = np.linalg.norm(points / (1.0, 1.2, 1.0) + (0, 0, 45), axis=-1)
    cap = np.select([away < 68, away < 74, away < 80], [36, 1200, 50], -1000)
    assert not model.locate(_volume(cap, stack)).found
    assert not model.locate(_volume(np.full(stack.shape, -1000), stack)).found


def test_a_limb_shows_no_skull_base(model: RegionModel) -> None:
    stack = axial_stack((60, 70, 70), (3.0, 2.0, 2.0))
    points = stack.to_patient(_indices(stack.shape))
    away = np.hypot(points[..., 0], points[..., 1])
    limb = np.select([away < 9, away < 14, away < 45], [100, 1400, 50], -1000)
    assert not model.locate(_volume(limb, stack)).found


def test_bone_whose_places_follow_no_map_is_no_head(model: RegionModel, head: Volume) -> None:
    found = model.locate(head)
    core = found.inside > 0.9
    assert region._coherence(core, found.place_mm) > 0.6
    shuffled = np.random.default_rng(0).permuted(found.place_mm.reshape(3, -1), axis=1).reshape(found.place_mm.shape)
    assert region._coherence(core, shuffled) < 0.1


def test_a_region_model_of_an_older_version_is_refused(tmp_path: Path) -> None:
    source = Config().model.region
    network = onnx.load(str(source / "model.onnx"))
    del network.graph.output[1:]
    onnx.save(network, str(tmp_path / "model.onnx"))
    text = (source / "model.yaml").read_text(encoding="utf-8")
    digest = sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    (tmp_path / "model.yaml").write_text(re.sub(r"sha256: \w+", f"sha256: {digest}", text), encoding="utf-8")
    with pytest.raises(ModelError, match="region model of version 2"):
        RegionModel.open(tmp_path, CPU)


def test_a_network_for_other_cells_is_refused(tmp_path: Path) -> None:
    source = Config().model.region
    (tmp_path / "model.onnx").write_bytes((source / "model.onnx").read_bytes())
    text = (source / "model.yaml").read_text(encoding="utf-8").replace("spacing_mm: 3.0", "spacing_mm: 2.0")
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"2\.0 mm"):
        RegionModel.open(tmp_path, CPU)


@pytest.mark.parametrize("name", ["siemens-headneck-contrast", "visible-human-male-head"])
def test_real_heads_have_one_and_their_neck_and_vault_are_not_in_it(
    model: RegionModel, shared_data: Path, name: str
) -> None:
    instances = [read_instance(path) for path in (shared_data / name).iterdir() if path.suffix != ".txt"]
    volume = read_volume(Series.of(instances[0].key, instances), Selection())
    found = model.locate(volume)
    assert found.found
    assert 80 < found.bone_ml < 260
    cells = np.argwhere(found.inside > 0.5)
    height = (np.percentile(cells[:, 0], 99) - np.percentile(cells[:, 0], 1)) * region.CELL_MM
    width = (np.percentile(cells[:, 2], 99) - np.percentile(cells[:, 2], 1)) * region.CELL_MM
    assert 60 < height < 125
    assert 110 < width < 170


def test_a_bite_out_of_the_border_is_filled_where_the_network_only_hesitates() -> None:
    sure = np.zeros((30, 30, 30), np.float32)
    sure[:, :15] = 0.9
    hesitant, denied = sure.copy(), sure.copy()
    hesitant[12:17, 11:15, 12:17] = 0.1
    denied[12:17, 11:15, 12:17] = 0.02
    assert (region._closed(hesitant)[12:17, 11:13, 12:17] == 0.5).all()
    assert np.array_equal(region._closed(denied), denied)
    assert np.array_equal(region._closed(sure), sure)


@pytest.mark.parametrize("order", ["head first", "from the top down", "rows from the back"])
def test_left_and_right_are_the_patients_whatever_the_order(model: RegionModel, head: Volume, order: str) -> None:
    stack, hu = head.stack, head.hu
    if order == "from the top down":
        stack, hu = replace(stack, origins_mm=stack.origins_mm[::-1], row_direction=-stack.row_direction), hu[::-1]
        stack = replace(stack, origins_mm=stack.origins_mm - stack.row_direction * _width_mm(stack))
        hu = hu[:, :, ::-1]
    elif order == "rows from the back":
        shift = stack.column_direction * stack.row_spacing_mm * (stack.rows - 1)
        turned = stack.row_direction * _width_mm(stack)
        stack = replace(
            stack,
            origins_mm=stack.origins_mm + shift + turned,
            column_direction=-stack.column_direction,
            row_direction=-stack.row_direction,
        )
        hu = hu[:, ::-1, ::-1]
    found = model.locate(_volume(np.ascontiguousarray(hu), stack))
    cells = np.argwhere((found.inside > 0.5) & (found.bones.argmax(axis=0) == BONES.index("temporal")))
    x = found.grid.to_patient(cells.astype(float))[:, 0]
    left = found.place_mm[(0, *cells.T)] > 0
    assert min(left.sum(), (~left).sum()) > 200
    assert x[left].mean() - x[~left].mean() > 60
    assert ((x > 0) == left).mean() > 0.95


def _width_mm(stack: SliceStack) -> float:
    return stack.column_spacing_mm * (stack.columns - 1)


@pytest.mark.parametrize("kept", ["left", "right", "both"])
def test_half_a_head_is_never_given_the_side_that_is_not_in_it(
    model: RegionModel, shared_data: Path, kept: str
) -> None:
    files = sorted((shared_data / "siemens-headneck-contrast").iterdir())
    instances = [read_instance(path) for path in files]
    volume = read_volume(Series.of(instances[0].key, instances), Selection())
    # The patient's right comes first in these rows.
    middle = volume.stack.columns // 2
    first, last = {"left": (middle, volume.stack.columns), "right": (0, middle), "both": (0, volume.stack.columns)}[
        kept
    ]
    shift = first * volume.stack.column_spacing_mm * volume.stack.row_direction
    stack = replace(volume.stack, origins_mm=volume.stack.origins_mm + shift, columns=last - first)
    found = model.locate(_volume(np.ascontiguousarray(volume.hu[:, :, first:last]), stack))
    level = np.where(found.inside > 0.5, np.float32(0.5), np.float32(-0.5))
    nothing = np.zeros(found.grid.shape, np.bool_)
    bone = Bone(grid=found.grid, level=level, inferred=nothing, canal=nothing, plate=nothing)
    sides = {one.side for one in named_bones(bone, found) if one.name == "temporal bone"}
    assert sides <= ({"left", "right"} if kept == "both" else {kept, ""})
    if kept == "both":
        assert sides == {"left", "right"}
