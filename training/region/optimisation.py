"""Training the region network, with checkpoints that an interrupted training goes on from."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.region import bank
from training.region.network import RegionNet
from training.region.scenes import Sample

__all__ = ["train"]

PEAK_RATE = 2e-3
WARM_UP_STEPS = 50
CROPS_CELLS = (48, 64, 64)
"""Samples are often cut to this size (up, back, left): less to compute, and scans are often cut."""
CROPPED_SHARE = 0.75
NAMES_WEIGHT, PLACE_WEIGHT = 0.3, 0.25
FIRST_SAMPLES, DRAWS_PER_SAMPLE = 200, 8
CHECKPOINT_STEPS = 200
HELD_OUT = 12
"""The first samples of the bank are never learned from."""


def train(cache: Path, steps: int, seed: int) -> None:
    """Train for ``steps`` in all and leave ``checkpoint.pt`` in ``cache``."""
    torch.manual_seed(seed)
    network = RegionNet().to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=1e-3)
    checkpoint, first = cache / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    began, losses = time.perf_counter(), []
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, steps)
        pair = [_varied(_pick(cache, seed, 2 * step + k), seed + 2 * step + k) for k in (0, 1)]
        losses.append(_learn(network, optimiser, pair))
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
            spent = time.perf_counter() - began
            wrong, away_mm = _held_out(network, cache, seed)
            means = f"loss {np.mean(losses[-CHECKPOINT_STEPS:]):.4f} held-out {wrong:.4f}, places {away_mm:.1f} mm off"
            print(f"{step + 1} {means} {spent:.0f} s", flush=True)


def _rate(step: int, steps: int) -> float:
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.51 + 0.49 * math.cos(math.pi * step / steps))


def _pick(cache: Path, seed: int, draw: int) -> Sample:
    """A sample of those that the bank holds by now; it grows with training, and training waits for it."""
    count = FIRST_SAMPLES + draw // DRAWS_PER_SAMPLE
    number = HELD_OUT + int(np.random.default_rng((seed, draw)).integers(count))
    return bank.wait_for(cache / "samples", seed + number)


def _varied(sample: Sample, seed: int) -> Sample:
    """The sample mirrored, cut shorter, in other contrast and with more noise."""
    random = np.random.default_rng(seed)
    parts = [sample.channels, sample.target[None], sample.weight[None], sample.bones[None], sample.place]
    if random.uniform() < 0.5:
        parts = [part.flip(-1) for part in parts]
        parts[-1] = parts[-1] * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1)
    for axis, longest in enumerate(CROPS_CELLS, start=1):
        size = parts[0].shape[axis]
        if size > longest and random.uniform() < CROPPED_SHARE:
            start = int(random.integers(0, size - longest + 1))
            parts = [part.narrow(axis, start, longest) for part in parts]
    channels = parts[0].clone()
    channels[0] = (channels[0] * random.uniform(0.7, 1.3)) ** random.uniform(0.8, 1.25)
    channels += torch.randn(channels.shape) * random.uniform(0, 0.03)
    return Sample(channels.clamp(0, 1), parts[1][0], parts[2][0], parts[3][0], parts[4])


def _learn(network: RegionNet, optimiser: torch.optim.Optimizer, samples: list[Sample]) -> float:
    """One step on samples that are padded to one size."""
    network.train()
    size = np.max([sample.target.shape for sample in samples], axis=0)
    # In float32: in bfloat16 the group normalisation of empty space comes out as NaN.
    answer = network(torch.stack([_padded(sample.channels, size) for sample in samples]))
    losses = [
        _base_loss(answer.base[k, 0], sample, size) + _map_loss(answer.bones[k], answer.place[k], sample)
        for k, sample in enumerate(samples)
    ]
    loss = torch.stack(losses).mean()
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _padded(field: Tensor, size: NDArray[np.int64]) -> Tensor:
    """The field with zeros behind it up to ``size`` in its last three axes."""
    gaps = [int(n) - m for n, m in zip(size, field.shape[-3:], strict=True)]
    return functional.pad(field, (0, gaps[2], 0, gaps[1], 0, gaps[0]))


def _base_loss(logits: Tensor, sample: Sample, size: NDArray[np.int64]) -> Tensor:
    """Cross-entropy where there is bone, and overlap where there is skull base, of one sample."""
    target, weight = _padded(sample.target, size), _padded(sample.weight, size)
    point = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (point * weight).sum() / (weight.sum() + 1000)
    if target.sum() > 200:
        guess = logits.sigmoid() * weight
        truth = target * weight
        loss = loss + 0.5 * (1 - 2 * (guess * truth).sum() / (guess.sum() + truth.sum() + 1))
    return loss


def _map_loss(bones: Tensor, place: Tensor, sample: Sample) -> Tensor:
    """Cross-entropy of the bones' names and mean error of the place, in cm, near the bone of a head."""
    shape = sample.weight.shape
    near = (sample.weight > 0.5) & bool(sample.target.any())
    if not near.any():
        return bones.new_zeros(())
    bones, place = (part[:, : shape[0], : shape[1], : shape[2]][:, near] for part in (bones, place))
    names = functional.cross_entropy(bones.T, sample.bones[near].long())
    return NAMES_WEIGHT * names + PLACE_WEIGHT * (place - sample.place[:, near]).abs().mean() / 10


def _held_out(network: RegionNet, cache: Path, seed: int) -> tuple[float, float]:
    """Share of wrong voxels in the band about bone, and mean distance of the places there in mm, over the held-out
    samples.
    """
    network.eval()
    wrong = total = away = placed = 0.0
    with torch.no_grad():
        for number in range(HELD_OUT):
            sample = bank.wait_for(cache / "samples", seed + number)
            answer = network(sample.channels[None])
            guess, band = answer.base[0, 0] > 0, sample.weight > 0.5
            wrong += float(((guess != (sample.target > 0.5)) & band).sum())
            total += float(band.sum())
            if sample.target.any():
                away += float((answer.place[0] - sample.place)[:, band].norm(dim=0).sum())
                placed += float(band.sum())
    return wrong / total, away / placed
