"""Export: a checkpoint to a model folder (ONNX opset 17 with BatchNorm folded, model.yaml)."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.network import OUTPUT_NAMES, NetworkSpec, OccupancyNet, scale_hu
from training.pool import CELL_MM

OPSET = 17
TILE_CELLS = 208
HALO_CELLS = 16
MULTIPLE_OF = 8
TOLERANCE = 1e-4
"""Largest difference allowed between the exported network and the trained one, in occupancy."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The averaged network of a training run, and the facts of the run."""

    network: OccupancyNet
    spec: NetworkSpec
    step: int
    plan: dict[str, Any]

    @property
    def scenes(self) -> int:
        """So many scenes were drawn from."""
        cycles, began, pooled, own = self.plan["cycles"], 0, 0, 0
        for cycle in cycles:
            if self.step > began and cycle["scenes"]:
                own += cycle["scenes"][1] - cycle["scenes"][0]
            elif self.step > began:
                grown = min(self.step, cycle["end_step"]) // int(self.plan["steps_per_scene"])
                pooled = int(self.plan["first_scenes"]) + grown
            began = cycle["end_step"]
        return pooled + own


class Deployed(nn.Module):
    """HU (1, 1, D, H, W) to occupancy, sheet and lumen, each (1, 1, D, H, W) in 0..1."""

    def __init__(self, network: OccupancyNet, window_hu: tuple[float, float]) -> None:
        super().__init__()
        self.network = network
        self.window_hu = window_hu

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """HU in, three fractions out."""
        fractions = torch.sigmoid(self.network(scale_hu(hu, self.window_hu)))
        return fractions[:, 0:1], fractions[:, 1:2], fractions[:, 2:3]


def load(path: Path) -> Checkpoint:
    """Read a checkpoint written by `training.optimisation`."""
    stored = torch.load(path, weights_only=True)
    plan: dict[str, Any] = json.loads(stored["plan"])
    fine, middle, coarse = plan["network"]["channels"]
    low_hu, high_hu = plan["network"]["window_hu"]
    spec = NetworkSpec(channels=(fine, middle, coarse), window_hu=(low_hu, high_hu))
    network = OccupancyNet(spec)
    network.load_state_dict(stored["averaged"])
    return Checkpoint(network=network.eval(), spec=spec, step=int(stored["step"]), plan=plan)


def fold(network: OccupancyNet) -> OccupancyNet:
    """A copy in which every BatchNorm is part of the convolution before it."""
    folded: OccupancyNet = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential) and len(module) == 3 and isinstance(module[1], nn.BatchNorm3d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    return folded


def export_model(checkpoint: Path, folder: Path, version: str) -> None:
    """Write `model.onnx` and `model.yaml`, and check the one against the trained network.

    Raises:
        ValueError: when the exported network and the trained one differ by more than `TOLERANCE`.
    """
    trained = load(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    _write_onnx(Deployed(fold(trained.network), trained.spec.window_hu), path)
    difference = largest_difference(trained, path)
    if difference > TOLERANCE:
        raise ValueError(f"the exported network differs from the trained one by {difference:.2e}")
    description = _describe(trained, path, version)
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    (folder / "model.yaml").write_text(text, encoding="utf-8")


def _write_onnx(deployed: Deployed, path: Path) -> None:
    axes = {2: "slices", 3: "rows", 4: "columns"}
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but it alone keeps three free axes through space-to-depth.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            deployed.eval(),
            (torch.zeros(1, 1, 32, 40, 48),),
            str(path),
            opset_version=OPSET,
            input_names=["hu"],
            output_names=list(OUTPUT_NAMES),
            dynamic_axes=dict.fromkeys(("hu", *OUTPUT_NAMES), axes),
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(path)))


def largest_difference(trained: Checkpoint, path: Path) -> float:
    """Largest difference between a trained network and its export, on blocks of two shapes."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    deployed = Deployed(trained.network, trained.spec.window_hu)
    random = np.random.default_rng(0)
    worst = 0.0
    for shape in ((1, 1, 24, 32, 40), (1, 1, 48, 40, 24)):
        hu = random.uniform(-1200.0, 2500.0, shape).astype(np.float32)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(hu))
        for ours, theirs in zip(session.run(None, {"hu": hu}), expected, strict=True):
            worst = max(worst, float(np.abs(ours - theirs.numpy()).max()))
    return worst


def _describe(trained: Checkpoint, path: Path, version: str) -> dict[str, Any]:
    return {
        "name": "skullbase",
        "version": version,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "input": {"name": "hu", "spacing_mm": CELL_MM, "hu_window": list(trained.spec.window_hu)},
        "tile": {"size": TILE_CELLS, "halo": HALO_CELLS, "multiple_of": MULTIPLE_OF},
        "outputs": {name: {"scale": 1} for name in OUTPUT_NAMES},
        "segments": [
            {
                "label": "Skull base",
                "code": {"value": "31467002", "scheme": "SCT", "meaning": "Base of skull"},
            },
            {
                "label": "Inferred thin bone",
                "code": {
                    "value": "inferred-thin-bone",
                    "scheme": "99SBNODE",
                    "meaning": "Inferred thin bone",
                },
            },
        ],
        "training": {
            "seed": trained.plan["seed"],
            "steps": trained.step,
            "scenes": trained.scenes,
            "data": "simulated scans only",
            "channels": list(trained.spec.channels),
        },
    }
