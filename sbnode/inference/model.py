"""The occupancy model: a folder with an ONNX network, run tile by tile on the fine grid.

A model folder holds ``model.onnx``, ``model.yaml`` and ``MODEL_CARD.md``. ``model.yaml`` is read once, here, and the
network is opened only when its SHA-256 is the one written there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sbnode.config import Execution
from sbnode.document import read_document
from sbnode.errors import ModelError
from sbnode.inference import tiling
from sbnode.inference.geometry import Grid
from sbnode.inference.occupancy import Occupancy
from sbnode.inference.resampling import resample
from sbnode.inference.tiling import Tiling
from sbnode.inference.volume import AIR_HU, Volume

__all__ = [
    "ModelDescription",
    "OccupancyModel",
    "Session",
    "available_providers",
    "open_session",
    "read_model_description",
]

Session = onnxruntime.InferenceSession

HEADS = ("occupancy", "sheet", "lumen")
AIR_TILE_HU = -250
"""A tile that is darker than this throughout holds no bone: a plate of 0.13 mm in air peaks at -226 HU (PSF 0.7 mm)."""

RUNTIME_ERRORS = (
    ort.EPFail,
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NoModel,
    ort.NoSuchFile,
    ort.NotImplemented,
    ort.RuntimeException,
)
"""onnxruntime's errors have no common base but Exception."""

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Input(_Part):
    name: str
    spacing_mm: float = Field(gt=0)


class ModelDescription(_Part):
    """The part of ``model.yaml`` that the node needs."""

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    licence: str = Field(min_length=1)
    input: _Input
    tile: Tiling | None = None


def read_model_description(folder: Path) -> ModelDescription:
    """Read ``folder/model.yaml`` and check that ``folder/model.onnx`` is the file that it describes.

    Raises:
        ModelError: a file is missing, the description is incomplete, or the network's SHA-256 differs.
    """
    try:
        content = read_document(folder / "model.yaml")
        found = sha256((folder / "model.onnx").read_bytes()).hexdigest()
        description = ModelDescription.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{folder / 'model.yaml'}: {faults}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: the model can't be read: {error}") from error
    if found != description.sha256:
        raise ModelError(
            f"{folder / 'model.onnx'}: SHA-256 is {found}, model.yaml says {description.sha256}: the file was altered "
            "or belongs to another version. Put the matching pair there"
        )
    return description


def available_providers() -> tuple[str, ...]:
    """Return the execution providers that the installed build of ONNX Runtime has; whether they start is not tried."""
    return tuple(onnxruntime.get_available_providers())


def open_session(path: Path, execution: Execution) -> onnxruntime.InferenceSession:
    """Open the network at ``path`` on the wanted execution provider.

    With ``auto`` the first of TensorRT, CUDA, OpenVINO and CPU that this installation has and that starts is taken.

    Raises:
        ModelError: the provider that was asked for isn't installed or doesn't start, or the file is no network.
    """
    available = onnxruntime.get_available_providers()
    if execution.provider == "auto":
        wanted = [name for key, name in PROVIDERS.items() if name in available and key != "tensorrt"]
    else:
        wanted = [PROVIDERS[execution.provider]]
        if wanted[0] not in available:
            raise ModelError(
                f"execution.provider is {execution.provider}, but this installation has only {', '.join(available)}: "
                "install the matching extra (cpu, openvino, gpu) or choose another provider"
            )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = execution.threads or os.cpu_count() or 1
    options.log_severity_level = 3
    # Without the arena memory goes back to the system between tiles.
    options.enable_cpu_mem_arena = False
    try:
        session = onnxruntime.InferenceSession(path, options, providers=wanted)
    except RUNTIME_ERRORS as error:
        raise ModelError(f"{path}: the network can't be opened: {error}") from error
    if execution.provider != "auto" and session.get_providers()[0] != wanted[0]:
        raise ModelError(f"execution.provider {execution.provider} did not start; see the log of onnxruntime above")
    return session


@dataclass(frozen=True)
class OccupancyModel:
    """A network that estimates, for each fine cell, how much of it is bone."""

    description: ModelDescription
    tile: Tiling
    session: onnxruntime.InferenceSession

    @classmethod
    def open(cls, folder: Path, execution: Execution) -> OccupancyModel:
        """Open the model in ``folder``.

        Raises:
            ModelError: a file is missing or altered, or the network lacks an input or output of the contract.
        """
        description = read_model_description(folder)
        if description.tile is None:
            raise ModelError(f"{folder / 'model.yaml'}: tile is missing")
        session = open_session(folder / "model.onnx", execution)
        inputs = {value.name for value in session.get_inputs()}
        outputs = {value.name for value in session.get_outputs()}
        if inputs != {description.input.name} or not outputs.issuperset(HEADS):
            raise ModelError(
                f"{folder / 'model.onnx'}: inputs {sorted(inputs)} and outputs {sorted(outputs)} are not those of the "
                f"contract: {description.input.name} and {', '.join(HEADS)}"
            )
        return cls(description, description.tile, session)

    @property
    def provider(self) -> str:
        """Name of the execution provider that is in use."""
        return str(self.session.get_providers()[0])

    def predict(
        self,
        volume: Volume,
        box: Grid,
        wanted: NDArray[np.bool_] | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Occupancy:
        """Estimate the occupancy in ``box``.

        Args:
            volume: the scan.
            box: the fine grid; its spacing is that of the model's input.
            wanted: cells worth computing, bool, shape ``box.shape``; what lies far from them stays empty. None: all.
            progress: called with the share that is done, 0..1.

        Raises:
            ModelError: the spacing of ``box`` isn't the model's.
        """
        if not np.isclose(box.spacing_mm, self.description.input.spacing_mm):
            raise ModelError(
                f"the grid has cells of {box.spacing_mm} mm, the model wants {self.description.input.spacing_mm} mm"
            )
        hu = resample(volume.hu, volume.stack, box, outside=AIR_HU)
        fields = [np.zeros(box.shape, np.float16) for _ in HEADS]
        tiles = list(tiling.cut(np.ones(box.shape, np.bool_) if wanted is None else wanted, self.tile))
        for done, tile in enumerate(tiles, start=1):
            block = tile.read(hu)
            if block.max() > AIR_TILE_HU:
                for field, output in zip(fields, self._run(block), strict=True):
                    core = field[tile.core]
                    core[...] = output[0, 0][tile.inner][tuple(map(slice, core.shape))]
            progress(done / len(tiles))
        return Occupancy(grid=box, bone=fields[0], sheet=fields[1], lumen=fields[2])

    def _run(self, block: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            return list(self.session.run(HEADS, {self.description.input.name: block[None, None]}))
        except RUNTIME_ERRORS as error:
            raise ModelError(f"{self.description.name}: the network failed on {self.provider}: {error}") from error
