"""Which series of a study is used, and what is done with it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from sbnode.config.section import Name, Section
from sbnode.matching import Keyword, Matcher, RegularExpression

__all__ = ["Priority", "Region", "Rule", "Selection"]

Region = Literal["skull_base", "all_bone"]
Priority = Literal["high", "normal", "low"]


class Selection(Section):
    """Which series of a study is the best for bone."""

    min_slices: int = Field(16, ge=2)
    max_slice_step_mm: float = Field(5.0, gt=0)
    min_extent_mm: float = Field(40.0, gt=0)
    """Least length of the stack along its normal."""
    max_axis_angle_degrees: float = Field(45.0, gt=0, le=90)
    """A series is axial when its normal is this close to the patient's long axis."""
    sharp_kernel: RegularExpression = (
        r"(?i)(bone|edge|detail|sharp|lung|[hbuj][a-z]?[5-9]\d|^(fc)?[3-8][0-9]$|ya|yb|\be\b)"
    )
    """Regular expression; a series whose ConvolutionKernel matches is preferred."""
    exclude_description: RegularExpression = r"(?i)(scout|topogram|localizer|dose (report|info)|\b(mpr|mip|3d|vrt)\b)"
    """Regular expression; a series whose SeriesDescription matches is left out."""


class Rule(Section):
    """What is done with the series that ``when`` fits. The first rule that fits a series is the one that counts."""

    name: Name
    when: dict[Keyword, Matcher] = Field({})
    """DICOM keywords with what their values must be like; all must hold. Empty: fits every series."""
    take: bool = True
    """False: the series is left alone."""
    priority: Priority = "normal"
    """Work of high priority goes before that of normal, and this before that of low, which keeps to
    ``queue.low_priority_hours``.
    """
    destinations: tuple[Name, ...] | None = None
    """Names of those that get the results; None: all."""
    region: Region | None = None
    """What is wanted of it; None: the node's ``region``."""

    @field_validator("when")
    @classmethod
    def _can_be_compared(cls, when: dict[str, Matcher]) -> dict[str, Matcher]:
        faults = [f"{keyword}: {fault}" for keyword, matcher in when.items() if (fault := matcher.misfit(keyword))]
        if faults:
            raise ValueError("; ".join(faults))
        return when
