"""Training: AdamW under a one-cycle rate, an average of the weights, checkpoints that resume exactly."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import pool
from training.loss import LossWeights, Truth, loss
from training.network import NetworkSpec, OccupancyNet, scale_hu

SAMPLE_STREAM = 2
"""Third word of the random stream of a step; scenes and their scans use none and 1."""


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """One rise and fall of the learning rate.

    `focused` is the share of patches that are centred on a marked cell (a lumen twice as often as a sheet).
    A step takes `batch` patches of `patch` cells from `scenes` (the first, and one past the last); without, from a
    pool that grows from the first scene on.
    """

    end_step: int
    peak_rate: float
    focused: float
    warm_up: int = 500
    batch: int = 2
    patch: tuple[int, int, int] = (40, 40, 32)
    scenes: tuple[int, int] | None = None


CYCLES = (
    Cycle(end_step=20_000, peak_rate=2e-3, focused=0.0),
    Cycle(end_step=40_000, peak_rate=1.2e-3, focused=0.5),
    Cycle(end_step=52_000, peak_rate=1.0e-3, focused=0.5, batch=4, patch=(48, 48, 48), scenes=(4000, 5200)),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides the weights, besides the code; the last cycle ends the training."""

    seed: int
    cycles: tuple[Cycle, ...] = CYCLES
    network: NetworkSpec = field(default_factory=NetworkSpec)
    weights: LossWeights = field(default_factory=LossWeights)
    first_scenes: int = 190
    steps_per_scene: int = 16
    decay: float = 1e-4
    average: float = 0.998
    checkpoint_steps: int = 500
    log_steps: int = 50

    def scenes(self, step: int) -> range:
        """The scenes that a step draws from."""
        own = self.cycle(step)[0].scenes
        return range(*own) if own else range(self.first_scenes + step // self.steps_per_scene)

    def pools(self) -> list[range]:
        """All scenes that training to the last step draws from."""
        return [self.scenes(cycle.end_step - 1) for cycle in self.cycles]

    @property
    def steps(self) -> int:
        """Where training ends."""
        return self.cycles[-1].end_step

    def cycle(self, step: int) -> tuple[Cycle, int]:
        """The cycle that a step belongs to, and the step at which that began."""
        start = 0
        for cycle in self.cycles[:-1]:
            if step < cycle.end_step:
                return cycle, start
            start = cycle.end_step
        return self.cycles[-1], start

    def rate(self, step: int) -> float:
        """Learning rate: in each cycle linear up, cosine down to 1 % of the peak."""
        cycle, start = self.cycle(step)
        done = step - start
        if done < cycle.warm_up:
            return cycle.peak_rate * (done + 1) / cycle.warm_up
        passed = (done - cycle.warm_up) / max(1, cycle.end_step - start - cycle.warm_up)
        return cycle.peak_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, passed))))


@dataclass(kw_only=True)
class Learner:
    """Network, its averaged twin and the optimiser at one step."""

    network: OccupancyNet
    averaged: OccupancyNet
    optimiser: torch.optim.AdamW
    step: int


def train(plan: Plan, cache: Path, threads: int = 1) -> Path:
    """Train to `plan.steps`, from the last checkpoint where there is one. Returns the final checkpoint."""
    torch.set_num_threads(threads)
    cache.mkdir(parents=True, exist_ok=True)
    learner = _resume(plan, cache)
    started_s, sums = time.monotonic(), {"total": 0.0}
    while learner.step < plan.steps:
        terms = _advance(learner, plan, cache / "scenes")
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value
        if learner.step % plan.log_steps == 0:
            _log(cache, learner.step, {k: v / plan.log_steps for k, v in sums.items()}, started_s)
            started_s, sums = time.monotonic(), {"total": 0.0}
        if learner.step % plan.checkpoint_steps == 0 or learner.step == plan.steps:
            save(learner, plan, cache)
    return cache / "checkpoint.pt"


def _advance(learner: Learner, plan: Plan, scenes: Path) -> dict[str, float]:
    """One optimiser step."""
    for group in learner.optimiser.param_groups:
        group["lr"] = plan.rate(learner.step)
    hu, truth = batch(plan, learner.step, scenes)
    # Convolutions in bfloat16: faster on processors that have it; the weights stay in float32.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = learner.network(scale_hu(hu, plan.network.window_hu))
    total, terms = loss(logits.float(), truth, plan.weights)
    learner.optimiser.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(learner.network.parameters(), 1.0)
    learner.optimiser.step()
    learner.step += 1
    _average(learner, plan)
    return {"total": float(total.detach()), **terms}


@torch.no_grad()
def _average(learner: Learner, plan: Plan) -> None:
    keep = min(plan.average, (1.0 + learner.step) / (10.0 + learner.step))
    ours = learner.averaged.state_dict()
    for name, value in learner.network.state_dict().items():
        if value.dtype.is_floating_point:
            ours[name].lerp_(value, 1.0 - keep)


def batch(plan: Plan, step: int, scenes: Path) -> tuple[Tensor, Truth]:
    """HU (B, 1, D, H, W) and truth of one step, a pure function of (seed, step) and the pool."""
    random = np.random.default_rng((plan.seed, step, SAMPLE_STREAM, 0))
    drawn, cycle = plan.scenes(step), plan.cycle(step)[0]
    samples = [_sample(cycle, pool.wait_for(scenes, int(random.choice(drawn))), random) for _ in range(cycle.batch)]
    hu, occupancy, marks = (np.stack(parts)[:, None] for parts in zip(*samples, strict=True))
    bits = torch.from_numpy(marks)
    truth = Truth(
        occupancy=torch.from_numpy(occupancy).float() / 255.0,
        sheet=(bits & 1).float(),
        lumen=((bits >> 1) & 1).float(),
    )
    return torch.from_numpy(hu).float(), truth


def _sample(
    cycle: Cycle, entry: pool.Entry, random: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A random patch of a random scan of one scene, turned and mirrored, with its level jittered."""
    axes = tuple(int(a) for a in (random.permutation(3) if random.uniform() < 0.5 else (0, 1, 2)))
    mirror = tuple(slice(None, None, -1 if random.uniform() < 0.5 else 1) for _ in range(3))
    scan = int(random.integers(entry.hu.shape[0]))
    starts = _corner(entry.marks.transpose(axes), cycle.patch, cycle.focused, random)
    window = tuple(slice(start, start + want) for start, want in zip(starts, cycle.patch, strict=True))

    def cut(field: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(field.transpose(axes)[window][mirror])

    hu = cut(entry.hu[scan]).astype(np.float32) + np.float32(random.normal(0, 6.0))
    return hu, cut(entry.occupancy), cut(entry.marks)


def _corner(
    marks: NDArray[np.uint8], patch: tuple[int, int, int], focused: float, random: np.random.Generator
) -> list[int]:
    """Corner of a random patch; with the probability `focused` a marked cell lies in its middle, where one is."""
    spare = [size - want for size, want in zip(marks.shape, patch, strict=True)]
    if random.uniform() < focused:
        found = np.flatnonzero(marks & (2 if random.uniform() < 2 / 3 else 1))
        if found.size:
            cell = np.unravel_index(int(random.choice(found)), marks.shape)
            return [int(np.clip(at - want // 2, 0, most)) for at, want, most in zip(cell, patch, spare, strict=True)]
    return [int(random.integers(most + 1)) for most in spare]


def new(plan: Plan) -> Learner:
    """The learner before the first step."""
    torch.manual_seed(plan.seed)
    network, averaged = OccupancyNet(plan.network), OccupancyNet(plan.network)
    averaged.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate(0), weight_decay=plan.decay)
    return Learner(network=network, averaged=averaged, optimiser=optimiser, step=0)


def _resume(plan: Plan, cache: Path) -> Learner:
    learner = new(plan)
    path = cache / "checkpoint.pt"
    if path.exists():
        stored = torch.load(path, weights_only=True)
        learner.network.load_state_dict(stored["network"])
        learner.averaged.load_state_dict(stored["averaged"])
        learner.optimiser.load_state_dict(stored["optimiser"])
        learner.step = int(stored["step"])
    return learner


def save(learner: Learner, plan: Plan, cache: Path) -> Path:
    """Write the checkpoint whole or not at all. Returns its path."""
    state = {
        "network": learner.network.state_dict(),
        "averaged": learner.averaged.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "step": learner.step,
        "plan": json.dumps(asdict(plan)),
    }
    partial = cache / "checkpoint.part"
    torch.save(state, partial)
    return partial.rename(cache / "checkpoint.pt")


def _log(cache: Path, step: int, means: dict[str, float], started_s: float) -> None:
    line = {"step": step, "seconds": round(time.monotonic() - started_s, 2)}
    line.update({name: round(value, 5) for name, value in means.items()})
    with (cache / "loss.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
