"""Recovery: an exported network back to a checkpoint that training can go on from.

The export folds every BatchNorm into the convolution before it. Its statistics are measured again on simulated scans,
and its scale and shift are chosen so that the network gives what the exported one gives.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from training.network import OccupancyNet, scale_hu
from training.optimisation import Plan, batch, new, save

BATCHES = 20
"""So many batches are looked at for the statistics."""


def recover(model: Path, plan: Plan, step: int, cache: Path) -> Path:
    """Write the checkpoint that stands at `step` of `plan` with the weights of `model`. Returns its path.

    The optimiser starts anew; its moments are not in the model.

    Raises:
        FileExistsError: `cache` holds a checkpoint already.
        KeyError: the ONNX file lacks a weight of the network of `plan`.
    """
    if (cache / "checkpoint.pt").exists():
        raise FileExistsError(f"{cache / 'checkpoint.pt'} exists: name another folder or remove it")
    weights = {
        tensor.name.removeprefix("network."): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(str(model)).graph.initializer
    }
    learner = new(plan)
    unfold(learner.network, weights, [batch(plan, step + k, cache / "scenes")[0] for k in range(BATCHES)], plan)
    learner.averaged.load_state_dict(learner.network.state_dict())
    learner.step = step
    return save(learner, plan, cache)


@torch.no_grad()
def unfold(network: OccupancyNet, weights: dict[str, Tensor], scans_hu: list[Tensor], plan: Plan) -> None:
    """Load folded weights into a network with BatchNorm, in place."""
    norms: dict[str, nn.BatchNorm3d] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            module.weight.copy_(weights[f"{name}.weight"])
            if module.bias is not None:
                module.bias.copy_(weights[f"{name}.bias"])
        elif isinstance(module, nn.BatchNorm3d):
            norms[name] = module
            module.running_var.fill_(1.0 - module.eps)
            module.bias.copy_(weights[f"{name[:-1]}0.bias"])
    sums = {name: torch.zeros(2, norm.num_features, dtype=torch.float64) for name, norm in norms.items()}

    def look(name: str, seen: Tensor) -> None:
        cells = seen.double().transpose(0, 1).flatten(1)
        sums[name] += torch.stack([cells.mean(1), cells.square().mean(1)]) / len(scans_hu)

    hooks = [
        norm.register_forward_pre_hook(lambda _, inputs, name=name: look(name, inputs[0]))
        for name, norm in norms.items()
    ]
    network.eval()
    for hu in scans_hu:
        network(scale_hu(hu, plan.network.window_hu))
    for hook in hooks:
        hook.remove()
    for name, norm in norms.items():
        mean, square = sums[name].float()
        variance = (square - mean**2).clamp_min(1e-8)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias += mean
    network.train()
