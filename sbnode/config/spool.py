"""What is kept, where and for how long."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sbnode.config.section import Section

__all__ = ["Retention", "Spool"]


class Spool(Section):
    """Where received instances and results are kept."""

    path: Path = Path("spool")
    min_free_bytes: int = Field(2_000_000_000, ge=0)
    """Below this much free space new instances are refused with 0xA700."""
    pause_free_bytes: int = Field(500_000_000, ge=0)
    """Below this much, no job is begun either, until there is space again."""


class Retention(Section):
    """How long studies that are done stay in the spool, with their results and what the queue knows of them."""

    study_days: float | None = Field(30.0, gt=0)
    """After their last instance; None: for ever."""
    dead_letter_days: float | None = Field(90.0, gt=0)
    """The same for studies with a dead letter."""
    max_bytes: int | None = Field(None, gt=0)
    """When the spool holds more, the oldest studies that are done go first; not those that got an instance within the
    last hour, nor those with a dead letter.
    """
    sweep_s: float = Field(3600.0, gt=0)
