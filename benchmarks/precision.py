"""`python -m benchmarks.precision --out benchmarks/results`: what INT8 gives and costs beside FP32, on this machine.

Static quantisation in QDQ form (ONNX Runtime): weights per channel, the first and the last convolution kept in FP32,
ranges from scans of development objects. Scored on other development objects.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks.accuracy.cores import on_all_cores
from benchmarks.accuracy.measures import Counts, Reference, measure, rates
from benchmarks.accuracy.methods import Node, on_grid
from benchmarks.accuracy.suites import ANATOMY, Case, cases
from benchmarks.accuracy.tune import DEVELOPMENT_SEED
from sbnode.config import Execution, Threshold
from sbnode.inference.model import open_session
from sbnode.inference.resampling import resample
from sbnode.inference.threshold import adaptive_threshold

CALIBRATED_ON, SCORED_ON = 1, 2
"""Repeats of every development object."""
BLOCK_CELLS, ROUNDS = 128, 5
KEPT = ("/network/stem/stem.0/Conv", "/network/head/Conv")
"""Nodes that stay in FP32."""
SHOWN = ("h", "continuity", "patency", "nsd_500um", "assd_mm", "far_false_bone")


class _Scans(CalibrationDataReader):
    """Scans of development objects on the grid of the network."""

    def __init__(self, node: Node, objects: list[Case]) -> None:
        self._blocks = self._all(node, objects)

    @staticmethod
    def _all(node: Node, objects: list[Case]) -> Iterator[dict[str, NDArray[np.float32]]]:
        for case in objects:
            for _, scan in case.scans(case.phantom()):
                volume = scan.volume()
                hu = resample(volume.hu, volume.stack, node.grid(), outside=-1024).astype(np.float32)
                cut = tuple(slice(size // 8 * 8) for size in hu.shape)
                yield {"hu": hu[cut][None, None]}

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._blocks, None)


def quantise(model: Path, folder: Path) -> None:
    """Write the model in ``folder``, quantised."""
    folder.mkdir(parents=True, exist_ok=True)
    quantize_static(
        model / "model.onnx",
        folder / "model.onnx",
        _Scans(Node.open(model, Threshold()), _objects(DEVELOPMENT_SEED + 50, CALIBRATED_ON)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=list(KEPT),
    )
    description = yaml.safe_load((model / "model.yaml").read_text(encoding="utf-8"))
    description["sha256"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "model.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")


def _objects(seed: int, repeats: int) -> list[Case]:
    return [case for case in cases(seed, repeats) if case.suite != ANATOMY]


def score(case: Case, folders: dict[str, Path]) -> dict[tuple[str, str, str], Counts]:
    """Score both on every scan of one object: {(suite, protocol, precision): counts}."""
    phantom = case.phantom()
    reference, found = Reference(phantom.truth()), {}
    nodes = {name: Node.open(folder, Threshold()) for name, folder in folders.items()}
    for title, scan in case.scans(phantom):
        for name, node in nodes.items():
            bone = adaptive_threshold(node.occupancy(scan), node.threshold)
            level = on_grid(bone.level, bone.grid)
            found[case.suite, title.split(":")[0], name] = measure(level, reference, scan.protocol.reach_mm)
    return found


def seconds(folder: Path) -> float:
    """Fastest run of a block of ``BLOCK_CELLS`` cubed cells on all cores."""
    session = open_session(folder / "model.onnx", Execution(provider="cpu"))
    block = np.random.default_rng(0).normal(40.0, 300.0, (1, 1, *(BLOCK_CELLS,) * 3)).astype(np.float32)
    spent = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        session.run(None, {"hu": block})
        spent.append(time.perf_counter() - started_s)
    return min(spent)


def main() -> None:
    """Quantise, time, score, and write ``precision.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/skullbase"))
    parser.add_argument("--work", type=Path, default=Path("runs/precision"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    quantise(options.model, options.work)
    folders = {"FP32": options.model, "INT8": options.work}
    spent = {name: seconds(folder) for name, folder in folders.items()}
    sums: dict[tuple[str, str, str], Counts] = {}
    for found in on_all_cores(partial(score, folders=folders), _objects(DEVELOPMENT_SEED, SCORED_ON)):
        for key, counts in found.items():
            sums[key] = sums.get(key, Counts()) + counts
    described = Node.open(options.model, Threshold()).model.description
    lines = [
        "# FP32 and INT8",
        "",
        f"{described.name} {described.version}; {datetime.date.today().isoformat()}; {platform.machine()}, "
        f"{os.cpu_count()} cores; `python -m benchmarks.precision`. Columns as in accuracy.md.",
        "",
        f"One block of {BLOCK_CELLS} cubed cells: " + ", ".join(f"{k} {v:.2f} s" for k, v in spent.items()) + ".",
        "",
        "| suite | protocol | precision | " + " | ".join(SHOWN) + " |",
        "|---|---|---|" + "---|" * len(SHOWN),
    ]
    for (suite, title, name), counts in sorted(sums.items()):
        figures = rates(counts)
        lines.append(f"| {suite} | {title} | {name} | " + " | ".join(f"{figures[key]:.3f}" for key in SHOWN) + " |")
    (options.out / "precision.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
