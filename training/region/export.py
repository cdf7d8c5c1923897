"""Writing the trained region network as a model folder."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import onnx
import torch
import yaml
from torch import Tensor, nn

from sbnode.inference.region import BODY_HU, BONE_HU, BONES, CELL_MM, MULTIPLE_OF, OUTPUT_CHANNELS
from training.region.network import RegionNet

__all__ = ["export_model"]


class _Deployed(nn.Module):
    def __init__(self, network: RegionNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities and places."""
        answer = self.network(channels)
        return torch.sigmoid(answer.base), torch.softmax(answer.bones, dim=1), answer.place


def export_model(checkpoint: Path, folder: Path, version: str) -> None:
    """Write ``model.onnx`` and ``model.yaml`` into ``folder``."""
    network = RegionNet()
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["network"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "model.onnx"
    axes = {2: "depth", 3: "height", 4: "width"}
    torch.onnx.export(
        _Deployed(network).eval(),
        (torch.zeros(1, 2, 32, 48, 64),),
        str(target),
        opset_version=17,
        input_names=["channels"],
        output_names=list(OUTPUT_CHANNELS),
        dynamic_axes=dict.fromkeys(("channels", *OUTPUT_CHANNELS), axes),
        dynamo=False,
    )
    exported = onnx.load(str(target))
    for output in exported.graph.output:  # Tracing loses the number of channels.
        output.type.tensor_type.shape.dim[1].dim_value = OUTPUT_CHANNELS[output.name]
    onnx.checker.check_model(exported)
    onnx.save(exported, str(target))
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
        "outputs": {
            "skull_base": "probability that bone near the cell is skull base, 0..1",
            "bones": f"probability of each of {', '.join(BONES)}, 0..1",
            "place": "where in the atlas the cell lies: left, back, up in mm from the middle of its head",
        },
        "grid": {"whole_scan": True, "multiple_of": MULTIPLE_OF},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
