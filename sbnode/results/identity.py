"""What a result says of its origin: the model, the settings and the job that made it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sbnode.config import Region, Results, Threshold

__all__ = ["Derivation", "ModelIdentity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model computed the occupancy. ``sha256`` is the hash of ``model.onnx``, hexadecimal."""

    name: str
    version: str
    sha256: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """All that the result objects of one job have in common.

    ``made_at`` is the time they claim as their creation; the same derivation of the same bone gives the same
    bytes.
    """

    job_key: str
    model: ModelIdentity
    region: Region
    threshold: Threshold
    settings: Results
    made_at: datetime
