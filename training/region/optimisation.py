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
        if (step + 1) % 50 == 0 or step + 1 == steps:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
            spent = time.perf_counter() - began
            print(
                f"{step + 1} loss {np.mean(losses[-50:]):.4f} held-out {_held_out(network, cache):.4f} {spent:.0f} s",
                flush=True,
            )


def _rate(step: int, steps: int) -> float:
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.51 + 0.49 * math.cos(math.pi * step / steps))


def _pick(cache: Path, seed: int, step: int) -> Sample:
    paths = bank.stored(cache / "samples")[HELD_OUT:]
    return bank.read_sample(paths[int(np.random.default_rng((seed, step)).integers(len(paths)))])


def _varied(sample: Sample, seed: int) -> Sample:
    """The sample mirrored, cut shorter, in other contrast and with more noise."""
    random = np.random.default_rng(seed)
    parts = [sample.channels, sample.target[None], sample.weight[None]]
    if random.uniform() < 0.5:
        parts = [part.flip(-1) for part in parts]
    for axis, longest in enumerate(CROPS_CELLS, start=1):
        size = parts[0].shape[axis]
        if size > longest and random.uniform() < CROPPED_SHARE:
            start = int(random.integers(0, size - longest + 1))
            parts = [part.narrow(axis, start, longest) for part in parts]
    channels = parts[0].clone()
    channels[0] = (channels[0] * random.uniform(0.7, 1.3)) ** random.uniform(0.8, 1.25)
    channels += torch.randn(channels.shape) * random.uniform(0, 0.03)
    return Sample(channels.clamp(0, 1), parts[1][0], parts[2][0])


def _learn(network: RegionNet, optimiser: torch.optim.Optimizer, samples: list[Sample]) -> float:
    """One step on samples that are padded to one size."""
    network.train()
    size = np.max([sample.target.shape for sample in samples], axis=0)
    logits = network(torch.stack([_padded(sample.channels, size) for sample in samples]))
    loss = torch.stack([_loss(one[0], sample, size) for one, sample in zip(logits, samples, strict=True)]).mean()
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _padded(field: Tensor, size: NDArray[np.int64]) -> Tensor:
    """The field with zeros behind it up to ``size`` in its last three axes."""
    gaps = [int(n) - m for n, m in zip(size, field.shape[-3:], strict=True)]
    return functional.pad(field, (0, gaps[2], 0, gaps[1], 0, gaps[0]))


def _loss(logits: Tensor, sample: Sample, size: NDArray[np.int64]) -> Tensor:
    """Cross-entropy where there is bone, and overlap where there is skull base."""
    target, weight = _padded(sample.target, size), _padded(sample.weight, size)
    point = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (point * weight).sum() / (weight.sum() + 1000)
    if target.sum() > 200:
        guess = logits.sigmoid() * weight
        truth = target * weight
        loss = loss + 0.5 * (1 - 2 * (guess * truth).sum() / (guess.sum() + truth.sum() + 1))
    return loss


def _held_out(network: RegionNet, cache: Path) -> float:
    """Share of wrong voxels in the band about bone, over the held-out samples."""
    network.eval()
    wrong = total = 0.0
    with torch.no_grad():
        for path in bank.stored(cache / "samples")[:HELD_OUT]:
            sample = bank.read_sample(path)
            guess = network(sample.channels[None])[0, 0] > 0
            band = sample.weight > 0.5
            wrong += float(((guess != (sample.target > 0.5)) & band).sum())
            total += float(band.sum())
    return wrong / total
