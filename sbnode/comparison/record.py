"""``report.json``: the figures of a comparison for programs. No patient data, no pictures."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sbnode import __version__
from sbnode.comparison.case import Agreement, Case, Refusal
from sbnode.comparison.comparison import Comparison
from sbnode.comparison.distance import SurfaceDistance
from sbnode.results.report import NOTICE, Report

__all__ = ["to_json"]


def to_json(comparison: Comparison) -> str:
    """Return the comparison as JSON; lengths are mm, volumes mL, shares 0..1."""
    content = {
        "notice": NOTICE,
        "sbnode_version": __version__,
        "made_at": comparison.made_at.isoformat(timespec="seconds"),
        "settings": [asdict(one) for one in comparison.settings],
        "models": {
            name: {use: asdict(one) for use, one in zip(("occupancy", "region"), facts, strict=True)}
            for name, facts in zip(("a", "b"), comparison.models, strict=True)
        },
        "studies": [_study(case) for case in comparison.cases],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _study(case: Case) -> dict[str, Any]:
    return {
        "study": case.label,
        "a": _side(case.a),
        "b": _side(case.b),
        "apart": case.apart or None,
        "agreement": None if case.agreement is None else _agreement(case.agreement),
    }


def _side(side: Report | Refusal) -> dict[str, Any]:
    """What ``result.json`` says, without the UIDs."""
    if isinstance(side, Refusal):
        return {"refusal": asdict(side)}
    content: dict[str, Any] = json.loads(side.to_json())
    for name in ("notice", "sbnode_version", "series_instance_uid", "left_out", "peak_memory_bytes"):
        del content[name]
    return content


def _agreement(agreement: Agreement) -> dict[str, Any]:
    a, b = agreement.topology
    return {
        "dice": round(agreement.overlap.dice, 5),
        "only_a_ml": round(agreement.overlap.only_a_ml, 3),
        "only_b_ml": round(agreement.overlap.only_b_ml, 3),
        "surface_distance": None if agreement.distance is None else _distance(agreement.distance),
        "topology": {"a": asdict(a), "b": asdict(b)},
        "places": [{"at_mm": one.at_mm, "apart_mm": round(one.apart_mm, 2)} for one in agreement.places],
    }


def _distance(distance: SurfaceDistance) -> dict[str, Any]:
    directions = {
        name: {key: round(value, 4) for key, value in asdict(one).items()}
        for name, one in (("a_to_b", distance.a_to_b), ("b_to_a", distance.b_to_a))
    }
    overall = {
        "mean_mm": round(distance.mean_mm, 4),
        "p95_mm": round(distance.p95_mm, 4),
        "longest_mm": round(distance.longest_mm, 4),
    }
    return {**overall, **directions}
