"""The whole way of the model on a tiny net and pool: simulate, train, resume, export, equal outputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="training's libraries are installed by `make train`")
pytest.importorskip("onnx", reason="training's libraries are installed by `make train`")

from sbnode.config import Execution  # noqa: E402
from sbnode.inference.model import OccupancyModel  # noqa: E402
from simulator.shapes import FineGrid  # noqa: E402
from training import export, pool  # noqa: E402
from training.loss import LossWeights, Truth, loss  # noqa: E402
from training.network import (  # noqa: E402
    NetworkSpec,
    OccupancyNet,
    depth_to_space,
    scale_hu,
    space_to_depth,
)
from training.optimisation import Cycle, Plan, _corner, batch, train  # noqa: E402
from training.recovery import BATCHES, recover  # noqa: E402

TINY_GRID = FineGrid(count=64, step_mm=0.2)


def tiny_plan(steps: int) -> Plan:
    return Plan(
        seed=4,
        cycles=(
            Cycle(end_step=2, peak_rate=2e-3, focused=0.0, warm_up=1000, patch=(16, 16, 16)),
            Cycle(end_step=max(steps, 3), peak_rate=1e-3, focused=1.0, warm_up=1000, batch=1, patch=(8, 16, 16)),
        )[: 1 + (steps > 2)],
        network=NetworkSpec(channels=(8, 8, 8)),
        first_scenes=2,
        steps_per_scene=1000,
        checkpoint_steps=2,
        log_steps=2,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("straight")
    pool.generate(cache / "scenes", 4, range(2), TINY_GRID)
    train(tiny_plan(4), cache)
    return cache


def test_an_entry_holds_what_the_simulator_made(trained: Path) -> None:
    stored, made = pool.read(trained / "scenes", 1), pool.simulate(4, 1, TINY_GRID)
    assert np.array_equal(stored.hu, made.hu)
    assert np.array_equal(stored.occupancy, made.occupancy)
    assert stored.hu.shape == (pool.SCANS_PER_SCENE, 16, 28, 28)


def test_training_resumes_to_the_same_weights(trained: Path, tmp_path: Path) -> None:
    pool.generate(tmp_path / "scenes", 4, range(2), TINY_GRID)
    train(tiny_plan(2), tmp_path)
    train(tiny_plan(4), tmp_path)
    straight = torch.load(trained / "checkpoint.pt", weights_only=True)
    resumed = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert resumed["step"] == straight["step"] == 4
    for name, value in straight["averaged"].items():
        assert torch.equal(value, resumed["averaged"][name]), name


def test_a_cycle_draws_from_scenes_of_its_own_or_from_the_growing_pool() -> None:
    own = Cycle(end_step=40, peak_rate=1e-3, focused=0.0, scenes=(70, 90))
    plan = Plan(seed=1, cycles=(Cycle(end_step=32, peak_rate=1e-3, focused=0.0), own), first_scenes=10)
    assert [plan.scenes(step) for step in (0, 16, 32)] == [range(10), range(11), range(70, 90)]
    assert plan.pools() == [range(11), range(70, 90)]


def test_each_cycle_rises_and_falls_and_patches_are_centred_on_marks() -> None:
    plan = Plan(seed=1)
    first, second = plan.cycles[:2]
    tops = [plan.rate(start + cycle.warm_up) for start, cycle in ((0, first), (first.end_step, second))]
    assert tops == pytest.approx([first.peak_rate, second.peak_rate])
    assert plan.rate(first.end_step - 1) == pytest.approx(0.01 * first.peak_rate, rel=0.01)
    assert plan.cycle(first.end_step) == (second, first.end_step)
    marks = np.zeros((40, 40, 40), np.uint8)
    marks[30, 8, 20] = 3
    corner = _corner(marks, (16, 16, 16), 1.0, np.random.default_rng(2))
    assert corner == [22, 0, 12]


def test_the_log_has_every_term(trained: Path) -> None:
    lines = (trained / "loss.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert {"total", "cross", "dice", "mass", "skeleton", "sheet", "lumen"} <= json.loads(lines[0]).keys()


def test_the_export_equals_the_network_and_opens_in_the_node(trained: Path, tmp_path: Path) -> None:
    export.export_model(trained / "checkpoint.pt", tmp_path, "0.0.1")
    checkpoint = export.load(trained / "checkpoint.pt")
    assert export.largest_difference(checkpoint, tmp_path / "model.onnx") < export.TOLERANCE
    description = yaml.safe_load((tmp_path / "model.yaml").read_text(encoding="utf-8"))
    assert description["sha256"] == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    assert description["training"]["steps"] == 4
    model = OccupancyModel.open(tmp_path, Execution(provider="cpu", threads=1))
    assert model.description.name == "skullbase"


def test_an_exported_network_is_recovered_with_its_batch_norm(trained: Path, tmp_path: Path) -> None:
    export.export_model(trained / "checkpoint.pt", tmp_path / "model", "0.0.1")
    pool.generate(tmp_path / "scenes", 4, range(2), TINY_GRID)
    recovered = export.load(recover(tmp_path / "model" / "model.onnx", tiny_plan(4), 2, tmp_path))
    assert recovered.step == 2
    assert export.largest_difference(recovered, tmp_path / "model" / "model.onnx") < export.TOLERANCE
    # Its statistics are those of its own inputs: in training mode it gives nearly the same.
    scan = torch.cat([batch(tiny_plan(4), 2 + k, tmp_path / "scenes")[0] for k in range(BATCHES)])
    with torch.no_grad():
        fixed = recovered.network.eval()(scale_hu(scan, recovered.spec.window_hu))
        measured = recovered.network.train()(scale_hu(scan, recovered.spec.window_hu))
    assert torch.allclose(fixed, measured, atol=0.05)
    with pytest.raises(FileExistsError):
        recover(tmp_path / "model" / "model.onnx", tiny_plan(4), 2, tmp_path)


def test_space_to_depth_and_back() -> None:
    field = torch.arange(2 * 3 * 4 * 6 * 8, dtype=torch.float32).reshape(2, 3, 4, 6, 8)
    assert torch.equal(depth_to_space(space_to_depth(field)), field)


def test_folding_keeps_the_function() -> None:
    torch.manual_seed(0)
    network = OccupancyNet(NetworkSpec(channels=(8, 8, 8)))
    block = torch.randn(2, 1, 16, 16, 16)
    network(block)
    with torch.no_grad():
        expected = network.eval()(block)
        folded = export.fold(network)(block)
    assert torch.allclose(folded, expected, atol=1e-4)


def test_the_loss_prefers_the_truth() -> None:
    occupancy = torch.zeros(1, 1, 8, 8, 8)
    occupancy[..., 3:5] = 0.6
    zero = torch.zeros_like(occupancy)
    truth = Truth(occupancy=occupancy, sheet=zero, lumen=zero)
    logits = torch.cat([torch.logit(occupancy.clamp(1e-4, 1 - 1e-4)), zero - 9, zero - 9], dim=1)
    best, _ = loss(logits, truth, LossWeights())
    for shift in (-1.5, 1.5):
        worse, _ = loss(logits + torch.tensor([shift, 0.0, 0.0]).reshape(1, 3, 1, 1, 1), truth, LossWeights())
        assert worse > best
