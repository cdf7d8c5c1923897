"""How bone is found, and how the results are made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sbnode.config.section import Section

__all__ = ["Execution", "Model", "Results", "Threshold"]

_MODELS = Path(__file__).resolve().parents[2] / "models"


class Model(Section):
    """Model folders. Each holds model.onnx, model.yaml and MODEL_CARD.md."""

    occupancy: Path = _MODELS / "skullbase"
    region: Path = _MODELS / "region"


class Execution(Section):
    """Where the networks run."""

    provider: Literal["auto", "tensorrt", "cuda", "openvino", "cpu"] = "auto"
    threads: int = Field(0, ge=0)
    """Threads for inference; 0: as many as there are cores."""


class Threshold(Section):
    """The adaptive threshold: half of the local maximum and minimum of the occupancy."""

    lowest: float = Field(0.15, ge=0, le=0.5)
    highest: float = Field(0.95, ge=0.5, le=1)
    contrast: float = Field(0.2, ge=0, le=1)
    """Where the local range is smaller than this, the threshold is one half."""
    seed: float = Field(0.45, ge=0, le=1)
    """A component must somewhere exceed this occupancy."""
    lumen_shift: float = Field(2.5, ge=0, le=4)
    """Added to the threshold where the model sees a canal or narrow gap, times its evidence."""
    sheet_shift: float = Field(0.25, ge=0, le=1)
    """Taken from the threshold where the model sees a thin sheet of bone, times its evidence."""


class Results(Section):
    """What the result objects say of themselves."""

    series_number_offset: int = Field(9000, ge=1)
    content_qualification: Literal["RESEARCH", "PRODUCT", "SERVICE"] = "RESEARCH"
    triangles: int = Field(600_000, ge=50_000)
    """A finer surface is decimated to so many triangles; an STL has 50 bytes for each."""
    category: Literal["91723000", "123037004"] = "91723000"
    """SNOMED CT code of the segment category: Anatomical Structure, in its current or its older form."""
    fine: bool = False
    """Also make a segmentation on the cells of the fine grid."""
    label_map: bool = False
    """Also make the segmentation as a Label Map, for destinations that list it."""
