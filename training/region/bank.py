"""Random samples kept on disk, so that each can be learned from several times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from training.region.scenes import AtlasTensors, Sample, random_sample

__all__ = ["generate", "read_sample", "stored"]


def generate(atlas: AtlasTensors, folder: Path, seed: int, count: int) -> None:
    """Write the samples of ``count`` seeds from ``seed`` on that ``folder`` doesn't hold yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(seed, seed + count):
        path = folder / f"{number:08d}.npz"
        if not path.exists():
            sample = random_sample(atlas, number)
            parts = {name: (part * 200).round().clamp(0, 255).byte().numpy() for name, part in vars(sample).items()}
            unfinished = path.with_suffix(".part")
            with unfinished.open("wb") as file:
                np.savez(file, **parts)
            unfinished.rename(path)


def stored(folder: Path) -> list[Path]:
    """The samples in ``folder``, sorted."""
    return sorted(folder.glob("*.npz"))


def read_sample(path: Path) -> Sample:
    """Read one sample."""
    with np.load(path) as content:
        return Sample(**{name: torch.from_numpy(content[name].astype(np.float32) / 200) for name in content.files})
