"""Opening model folders, refusing wrong ones, and prediction tile by tile without seams."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage

from sbnode.config import Execution
from sbnode.errors import ModelError
from sbnode.inference.geometry import Grid
from sbnode.inference.model import HEADS, OccupancyModel, open_session, read_model_description
from sbnode.inference.volume import Volume
from simulator.dicom import axial_stack

CPU = Execution(provider="cpu", threads=1)
HALO = 8
TILE = 32


def write_model(folder: Path, *, heads: tuple[str, ...] = HEADS, input_name: str = "hu") -> Path:
    """A network whose occupancy is the mean of 5 x 5 x 5 cells in units of 1000 HU, and that sees nothing else."""
    folder.mkdir()
    shape = [1, 1, "d", "h", "w"]
    weights = [
        numpy_helper.from_array(np.full((1, 1, 5, 5, 5), value, np.float32), name)
        for name, value in (("mean", 1 / 125e3), ("nothing", 0.0))
    ]
    nodes = [
        helper.make_node("Conv", [input_name, weight], [head], kernel_shape=[5] * 3, pads=[2] * 6)
        for head in heads
        for weight in ["mean" if head == "occupancy" else "nothing"]
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(head, TensorProto.FLOAT, shape) for head in heads],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    describe(folder)
    return folder


def describe(folder: Path, **changes: object) -> None:
    content = {
        "name": "mean",
        "version": "1",
        "sha256": sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "input": {"name": "hu", "spacing_mm": 0.4},
        "tile": {"size": TILE, "halo": HALO, "multiple_of": 8},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(content | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def volume() -> Volume:
    """A scan on the very grid of the model: resampling leaves it as it is."""
    hu = np.random.default_rng(5).integers(-1000, 2000, (37, 50, 41)).astype(np.int16)
    return Volume(hu=hu, stack=axial_stack(hu.shape, (0.4, 0.4, 0.4)), instances=(), frames=())


def grid_of(volume: Volume) -> Grid:
    stack = volume.stack
    axes = np.stack([stack.normal, stack.column_direction, stack.row_direction])
    return Grid(origin_mm=stack.origins_mm[0], axes=axes, spacing_mm=0.4, shape=stack.shape)


def test_tiles_leave_no_seams(folder: Path, volume: Volume) -> None:
    occupancy = OccupancyModel.open(folder, CPU).predict(volume, grid_of(volume))
    expected = ndimage.uniform_filter(volume.hu.astype(np.float64), 5, mode="nearest") / 1000
    assert np.abs(occupancy.bone - expected).max() < 2e-3
    assert occupancy.bone.dtype == np.float16


def test_tiles_that_nobody_wants_stay_empty(folder: Path, volume: Volume) -> None:
    wanted = np.zeros(volume.hu.shape, np.bool_)
    wanted[:5, :5, :5] = True
    occupancy = OccupancyModel.open(folder, CPU).predict(volume, grid_of(volume), wanted)
    assert occupancy.bone[:8, :8, :8].any()
    assert not occupancy.bone[8:].any()
    assert not occupancy.bone[:, 8:].any()


def test_air_is_not_computed(folder: Path, volume: Volume) -> None:
    air = Volume(hu=np.full_like(volume.hu, -900), stack=volume.stack, instances=(), frames=())
    assert not OccupancyModel.open(folder, CPU).predict(air, grid_of(air)).bone.any()


def test_progress_ends_at_one(folder: Path, volume: Volume) -> None:
    told: list[float] = []
    OccupancyModel.open(folder, CPU).predict(volume, grid_of(volume), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_an_altered_network_is_refused(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match="altered"):
        read_model_description(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        OccupancyModel.open(tmp_path / "nowhere", CPU)


@pytest.mark.parametrize("changes", [{"input": {"name": "hu"}}, {"sha256": "abc"}, {"name": ""}, {"licence": None}])
def test_an_incomplete_description_is_refused_by_key(folder: Path, changes: dict[str, object]) -> None:
    describe(folder, **changes)
    with pytest.raises(ModelError, match=next(iter(changes))):
        read_model_description(folder)


@pytest.mark.parametrize("tile", [(32, 4, 8), (30, 8, 8), (16, 8, 8)])
def test_a_tile_that_loses_the_phase_is_refused(folder: Path, tile: tuple[int, int, int]) -> None:
    describe(folder, tile=dict(zip(("size", "halo", "multiple_of"), tile, strict=True)))
    with pytest.raises(ModelError, match="multiples of multiple_of"):
        read_model_description(folder)


def test_tiles_shrink_to_what_is_wanted(folder: Path, volume: Volume) -> None:
    wanted = np.zeros(volume.hu.shape, np.bool_)
    wanted[20:30, 17:42, 3] = True
    model = OccupancyModel.open(folder, CPU)
    part, whole = model.predict(volume, grid_of(volume), wanted), model.predict(volume, grid_of(volume))
    assert np.array_equal(part.bone[wanted], whole.bone[wanted])
    assert not part.bone[:, :, 16:].any()


def test_a_description_without_tile_is_refused(folder: Path) -> None:
    describe(folder, tile=None)
    with pytest.raises(ModelError, match="tile is missing"):
        OccupancyModel.open(folder, CPU)


def test_a_file_that_is_no_network_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no network")
    describe(folder)
    with pytest.raises(ModelError, match="can't be opened"):
        OccupancyModel.open(folder, CPU)


@pytest.mark.parametrize("wrong", [{"heads": ("occupancy",)}, {"input_name": "image"}])
def test_a_network_of_another_contract_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    folder = write_model(tmp_path / "other", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="contract"):
        OccupancyModel.open(folder, CPU)


def test_a_provider_that_is_not_installed_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="install the matching extra"):
        open_session(folder / "model.onnx", Execution(provider="tensorrt"))


def test_another_spacing_is_refused(folder: Path, volume: Volume) -> None:
    grid = grid_of(volume)
    coarse = Grid(origin_mm=grid.origin_mm, axes=grid.axes, spacing_mm=0.5, shape=(8, 8, 8))
    with pytest.raises(ModelError, match=r"0\.5 mm"):
        OccupancyModel.open(folder, CPU).predict(volume, coarse)
