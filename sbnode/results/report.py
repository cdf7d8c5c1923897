"""``result.json``: what was done with a study, and what to know before using the result. No patient data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sbnode import __version__
from sbnode.config import Region
from sbnode.inference.bone import Finding, Foramen, NamedBone
from sbnode.inference.quality import Quality
from sbnode.results.identity import ModelIdentity

__all__ = ["NOTICE", "LeftOut", "Report"]

NOTICE = "Research and education only. Not a medical device."


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A series of the study that was not used, and why."""

    series_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that ``result.json`` says. Lengths are mm, volumes mL, shares 0..1."""

    job_key: str
    series_instance_uid: str
    why: str
    left_out: tuple[LeftOut, ...]
    slices: int
    region: Region
    findings: tuple[Finding, ...]
    """What was odd about the geometry or the pixels of the series."""
    quality: Quality
    """What the scan resolves."""
    flags: tuple[Finding, ...]
    """What to look at before the result is used."""
    model: ModelIdentity
    provider: str
    bones: tuple[NamedBone, ...]
    """The bones that the region map is sure of, with the patient's side."""
    foramina: tuple[Foramen, ...]
    """The openings that were found, or that the scan is too coarse for."""
    volume_ml: float
    inferred_share: float
    seconds: dict[str, float]
    """Time per stage."""
    peak_memory_bytes: int

    def to_json(self) -> str:
        """Return the report as JSON, keys in the order above, numbers rounded to what they mean."""
        content = {"notice": NOTICE, "sbnode_version": __version__, **asdict(self)}
        content["volume_ml"] = round(self.volume_ml, 2)
        content["inferred_share"] = round(self.inferred_share, 4)
        content["quality"] = {
            name: value and round(value, 1 if name == "noise_hu" else 2) for name, value in content["quality"].items()
        }
        content["seconds"] = {stage: round(value, 3) for stage, value in self.seconds.items()}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
