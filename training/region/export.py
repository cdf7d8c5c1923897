"""Writing the trained region network as a model folder."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import onnx
import torch
import yaml
from torch import Tensor, nn

from sbnode.inference.region import BODY_HU, BONE_HU, CELL_MM, MULTIPLE_OF
from training.region.network import RegionNet

__all__ = ["export_model"]


class _Probability(nn.Module):
    def __init__(self, network: RegionNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, channels: Tensor) -> Tensor:
        """Return probabilities."""
        return torch.sigmoid(self.network(channels))


def export_model(checkpoint: Path, folder: Path, version: str) -> None:
    """Write ``model.onnx`` and ``model.yaml`` into ``folder``."""
    network = RegionNet()
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["network"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "model.onnx"
    axes = {2: "depth", 3: "height", 4: "width"}
    torch.onnx.export(
        _Probability(network).eval(),
        (torch.zeros(1, 2, 32, 48, 64),),
        str(target),
        opset_version=17,
        input_names=["channels"],
        output_names=["skull_base"],
        dynamic_axes={"channels": axes, "skull_base": axes},
        dynamo=False,
    )
    onnx.checker.check_model(onnx.load(str(target)))
    description = {
        "name": "sbnode-region",
        "version": version,
        "sha256": sha256(target.read_bytes()).hexdigest(),
        "licence": "CC-BY-SA-2.1-JP",
        "input": {
            "name": "channels",
            "spacing_mm": CELL_MM,
            "axes": ["up", "back", "left"],
            "windows_hu": {"bone": list(BONE_HU), "body": list(BODY_HU)},
        },
        "output": {"name": "skull_base", "meaning": "probability that bone near the cell is skull base, 0..1"},
        "grid": {"whole_scan": True, "multiple_of": MULTIPLE_OF},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
