"""Which series of a study is the best for bone, and why the others are not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sbnode.config import Selection
from sbnode.errors import NoUsableSeries, SeveralPatients, UnsafeGeometry
from sbnode.inference.geometry import SliceStack
from sbnode.inference.stack import build_stack, read_planes
from sbnode.series import Instance, Series, SeriesKey

__all__ = ["Choice", "choose", "require_one_patient", "unusable"]

SOFT_KERNEL_COST_MM = 0.5
"""A soft kernel blurs thin bone about as much as slices half a millimetre thicker do."""
DERIVED_COST_MM = 0.3
"""A derived image was resampled once; an original of nearly the same step is better."""
OTHER_BODY_PART_COST_MM = 100.0
"""Body Part Examined is often wrong, so another part never excludes a series: it comes last."""

_OTHER_BODY_PART = re.compile(
    r"(?i)(chest|thorax|lung|heart|cardiac|coronary|breast|abdomen|liver|kidney|pelvis|spine|shoulder|humerus|elbow|forearm"
    r"|wrist|hand|hip|femur|knee|ankle|foot)"
)
_HEAD = re.compile(
    r"(?i)(head|skull|brain|schädel|schaedel|kopf|neck|sinus|orbit|face|facial|temporal|petrous|crani|\bears?\b|\biacs?\b)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The series that is processed and the reason, and the reason of every series that is not."""

    chosen: Series
    why: str
    left_out: tuple[tuple[SeriesKey, str], ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    series: Series
    cost_mm: float
    why: str


def choose(study: Iterable[Series], rules: Selection) -> Choice:
    """Choose the series of ``study`` that shows bone best.

    Candidates are CT, axial, long enough and thin enough; the one with the least slice step wins, where a soft
    kernel and derived images cost some step. Ties go to the finer pixels, then to more slices, then to the lower UID,
    so that the choice never depends on the order of arrival.

    Raises:
        SeveralPatients: the images of the study, of whatever series, name more than one patient.
        NoUsableSeries: no series passes; the message holds the reason of each.
    """
    study = tuple(study)
    require_one_patient(study)
    candidates, left_out = _judge_all(study, rules)
    if not candidates:
        reasons = "; ".join(f"series {n}: {reason}" for n, (_, reason) in enumerate(left_out, start=1))
        raise NoUsableSeries(f"no series can be used: {reasons or 'the study is empty'}")
    best = min(candidates, key=lambda c: c.cost_mm)
    for other in candidates:
        if other is not best:
            left_out.append((other.series.key, f"usable ({other.why}), but the chosen series is better ({best.why})"))
    return Choice(chosen=best.series, why=best.why, left_out=tuple(left_out))


def require_one_patient(study: Iterable[Series]) -> None:
    """Raise SeveralPatients when the images of ``study`` name more than one patient."""
    patients = Counter(instance.patient for series in study for instance in series.instances)
    if len(patients) > 1:
        counts = " and ".join(str(count) for _, count in patients.most_common())
        raise SeveralPatients(
            f"the images of the study name {len(patients)} different patients ({counts} images): correct them in the "
            "archive and send the study again, with the UIDs it has"
        )


def unusable(study: Iterable[Series], rules: Selection) -> tuple[tuple[SeriesKey, str], ...]:
    """Return the series of ``study`` that can't be used, each with the reason."""
    return tuple(_judge_all(study, rules)[1])


def _judge_all(study: Iterable[Series], rules: Selection) -> tuple[list[_Candidate], list[tuple[SeriesKey, str]]]:
    candidates: list[_Candidate] = []
    left_out: list[tuple[SeriesKey, str]] = []
    for series in sorted(study, key=lambda series: series.key):
        judged = _judge(series, rules)
        if isinstance(judged, str):
            left_out.append((series.key, judged))
        else:
            candidates.append(judged)
    return candidates, left_out


def _judge(series: Series, rules: Selection) -> _Candidate | str:
    """Return the candidate that ``series`` makes, or the reason why it makes none."""
    first = series.instances[0]
    reason = _header_reason(first, rules)
    if reason:
        return reason
    try:
        planes = read_planes(series)
        if len(planes) < rules.min_slices:
            return f"{len(planes)} slices; at least {rules.min_slices} are needed (selection.min_slices)"
        stack, ordered, _ = build_stack(planes, max_slice_step_mm=rules.max_slice_step_mm)
    except UnsafeGeometry as error:
        return str(error)
    return _stack_reason(stack, rules) or _candidate(series, stack, ordered[0].instance, rules)


def _header_reason(first: Instance, rules: Selection) -> str | None:
    if first.modality != "CT":
        return f"modality is {first.modality or 'not given'}, not CT"
    if "LOCALIZER" in first.image_type:
        return "a localizer"
    if re.search(rules.exclude_description, first.series_description):
        return "its description is excluded (selection.exclude_description)"
    return None


def _stack_reason(stack: SliceStack, rules: Selection) -> str | None:
    count = len(stack.origins_mm)
    extent_mm = float(np.ptp(stack.positions_mm))
    angle = float(np.degrees(np.arccos(np.clip(abs(stack.normal[2]), 0, 1))))
    if count < rules.min_slices:
        return f"{count} slices in one geometry; at least {rules.min_slices} are needed (selection.min_slices)"
    if extent_mm < rules.min_extent_mm:
        return f"the stack is {extent_mm:.0f} mm long; at least {rules.min_extent_mm:g} are needed"
    if angle > rules.max_axis_angle_degrees:
        return f"not axial: the slices are turned by {angle:.0f} degrees"
    return None


def _candidate(series: Series, stack: SliceStack, first: Instance, rules: Selection) -> _Candidate:
    step_mm = float(np.median(np.diff(stack.positions_mm)))
    thickness_mm = max(step_mm, first.slice_thickness_mm or 0.0)
    sharp = bool(re.search(rules.sharp_kernel, first.convolution_kernel))
    derived = "DERIVED" in first.image_type
    where = f"{first.body_part} {first.series_description}"
    elsewhere = bool(_OTHER_BODY_PART.search(where)) and not _HEAD.search(where)
    cost_mm = (
        thickness_mm
        + SOFT_KERNEL_COST_MM * (not sharp)
        + DERIVED_COST_MM * derived
        + OTHER_BODY_PART_COST_MM * elsewhere
        + 1e-3 * stack.column_spacing_mm
        - 1e-6 * len(stack.origins_mm)
    )
    parts = [
        f"{len(stack.origins_mm)} axial slices",
        f"{thickness_mm:.2f} mm thick every {step_mm:.2f} mm",
        f"{'sharp' if sharp else 'soft'} kernel {first.convolution_kernel}".rstrip(),
        *(["derived"] if derived else []),
        *(["header names another body part"] if elsewhere else []),
    ]
    return _Candidate(series, cost_mm, ", ".join(parts))
