"""The two segments of every result: what they are called, coded and coloured."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

from sbnode.config import Region

__all__ = [
    "CATEGORY_MEANINGS",
    "CODING_SCHEME",
    "INFERRED_LABEL",
    "Segment",
    "bone_segment",
    "inferred_segment",
]

CODING_SCHEME = "99SBNODE"
"""Private coding scheme for concepts without a confirmed standard code."""

INFERRED_LABEL = 2
"""Value of inferred bone in label maps and its Segment Number; certain bone has 1."""

CATEGORY_MEANINGS = {"91723000": "Anatomical Structure", "123037004": "Anatomical Structure"}
"""Code meanings of the configurable segment category (SNOMED CT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment. ``code`` is its Segmented Property Type; ``rgb`` is its colour in sRGB, 0..255."""

    number: int
    label: str
    description: str
    code: Code
    anatomic_region: Code
    rgb: tuple[int, int, int]


_REGIONS: dict[Region, Code] = {
    "skull_base": Code("31467002", "SCT", "Base of skull"),
    "all_bone": Code("312779009", "SCT", "Bone structure of head and/or neck"),
}
_LABELS: dict[Region, str] = {"skull_base": "Skull base", "all_bone": "Bone"}


def bone_segment(region: Region) -> Segment:
    """Return the segment of certain bone: everything whose occupancy is over one half."""
    return Segment(
        number=1,
        label=_LABELS[region],
        description="Bone that the model sees. Inferred thin bone has its own segment; they share no voxel.",
        code=_REGIONS[region],
        anatomic_region=_REGIONS[region],
        rgb=(248, 214, 145),
    )


def inferred_segment(region: Region) -> Segment:
    """Return the segment of bone that only the locally lowered threshold admits."""
    return Segment(
        number=INFERRED_LABEL,
        label="Inferred thin bone",
        description=(
            "Bone thinner than the scan resolves, admitted only by the adaptive threshold. Verify against the"
            " source images. Shares no voxel with the other segment."
        ),
        code=Code("SBN-THIN", CODING_SCHEME, "Inferred thin bone"),
        anatomic_region=_REGIONS[region],
        rgb=(30, 120, 220),
    )
