"""Command line: `python -m training.region generate | train | export`.

export SBNODE_DATA=../shared/data
python -m training.region generate --cache runs/region --count 1420
python -m training.region train --cache runs/region --steps 2400
python -m training.region export --cache runs/region --version 2.0.0
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from training.region import bank
from training.region.atlas import load_atlas
from training.region.scenes import AtlasTensors


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m training.region", description=__doc__)
    parser.add_argument("command", choices=["generate", "train", "export"])
    parser.add_argument("--cache", type=Path, required=True, help="folder for the atlas, the samples and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1420, help="samples to generate")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--folder", type=Path, default=Path("models/region"), help="model folder to write")
    parser.add_argument("--version", default="2.0.0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "generate":
        meshes = Path(os.environ["SBNODE_DATA"]) / "skull-bones-bodyparts3d"
        atlas = AtlasTensors.of(load_atlas(meshes, options.cache / "atlas.npz"))
        bank.generate(atlas, options.cache / "samples", options.seed, options.count)
    elif options.command == "train":
        from training.region.optimisation import train

        train(options.cache, options.steps, options.seed)
    else:
        from training.region.export import export_model

        export_model(options.cache / "checkpoint.pt", options.folder, options.version)


if __name__ == "__main__":
    main()
