"""Random samples kept on disk, so that each can be learned from several times."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.region.scenes import AtlasTensors, Sample, random_sample

__all__ = ["generate", "wait_for"]


def generate(atlas: AtlasTensors, folder: Path, seed: int, count: int) -> None:
    """Write the samples of ``count`` seeds from ``seed`` on that ``folder`` doesn't hold yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(seed, seed + count):
        path = _path(folder, number)
        if not path.exists():
            sample = random_sample(atlas, number)
            parts = {name: _packed(name, part).numpy() for name, part in vars(sample).items()}
            unfinished = path.with_suffix(".part")
            with unfinished.open("wb") as file:
                np.savez(file, **parts)
            unfinished.rename(path)


def wait_for(folder: Path, number: int, poll_s: float = 0.5) -> Sample:
    """Read the sample of a seed as soon as `generate` has written it."""
    while not _path(folder, number).exists():
        time.sleep(poll_s)
    return _read(_path(folder, number))


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.npz"


def _read(path: Path) -> Sample:
    with np.load(path) as content:
        return Sample(**{name: _unpacked(name, torch.from_numpy(content[name])) for name in content.files})


def _packed(name: str, part: Tensor) -> Tensor:
    """Fractions in 1/200, places in 0.1 mm, names of bones as they are."""
    if name == "bones":
        return part
    return (10 * part).round().short() if name == "place" else (part * 200).round().clamp(0, 255).byte()


def _unpacked(name: str, part: Tensor) -> Tensor:
    if name == "bones":
        return part
    return part.float() / (10 if name == "place" else 200)
