"""The newest results in the spool, as the status page shows them. What is read once is kept: a result never changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial

from sbnode.errors import SpoolError
from sbnode.jobs.client import Item
from sbnode.series import PARSER_FAULTS
from sbnode.spool import Spool
from sbnode.status.overview import Result, Sent

__all__ = ["recent_results", "with_deliveries"]

_KEPT = 64
_FILES = ("preview.png", "surface.stl", "seg.dcm")
_LAST_PATIENT_GROUP = 0x0010


def recent_results(spool: Spool, limit: int, *, patients: bool) -> tuple[Result, ...]:
    """Return the newest results, newest first; those whose report can't be read are left out.

    Args:
        spool: where they are.
        limit: how many at most.
        patients: whether name and ID of the patient are wanted too.
    """
    found = []
    for job, made_s in spool.newest_results(limit):
        try:
            folder = spool.result_folder(job)
            result = _result(folder, made_s)
        except (SpoolError, OSError, ValueError, LookupError, TypeError):
            continue
        found.append(replace(result, patient=_patient(folder / "seg.dcm")) if patients else result)
    return tuple(found)


def with_deliveries(results: Iterable[Result], items: Sequence[Item]) -> tuple[Result, ...]:
    """Return the results with how far their deliveries are; ``items`` are deliveries and questions of proof."""
    by_job: dict[str, list[Item]] = {}
    for item in items:
        by_job.setdefault(item.job, []).append(item)
    return tuple(replace(result, sent=_sent(by_job.get(result.job, []))) for result in results)


def _sent(items: Sequence[Item]) -> tuple[Sent, ...]:
    """One entry per destination. An object counts by the newest of what the queue has of it."""
    states: dict[str, dict[str, set[str]]] = {}
    for item in items:
        destination, kind = item.id.split(".")[1:3]
        states.setdefault(destination, {}).setdefault(kind, set()).add(item.state)
    return tuple(
        Sent(
            destination,
            delivered=sum(found == {"done"} for found in kinds.values()),
            wanted=len(kinds),
            failed=sum("dead letter" in found for found in kinds.values()),
            held=sum("held back" in found for found in kinds.values()),
            dismissed=sum("dismissed" in found and "dead letter" not in found for found in kinds.values()),
        )
        for destination, kinds in sorted(states.items())
    )


@lru_cache(_KEPT)
def _result(folder: Path, made_s: float) -> Result:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    model = content["model"]
    return Result(
        job=folder.name,
        made_s=made_s,
        files=tuple(name for name in _FILES if (folder / name).exists()),
        slices=int(content["slices"]),
        volume_ml=float(content["volume_ml"]),
        inferred_share=float(content["inferred_share"]),
        flags=tuple((str(flag["code"]), str(flag["message"])) for flag in content["flags"]),
        seconds=sum(float(value) for value in content["seconds"].values()),
        model=f"{model['name']} {model['version']}",
    )


@lru_cache(_KEPT)
def _patient(path: Path) -> str:
    """Return name and ID of the patient that a DICOM file names; only the beginning of the file is read."""
    try:
        with path.open("rb") as file:
            header = read_partial(file, stop_when=lambda tag, vr, length: tag.group > _LAST_PATIENT_GROUP)
        name = header.get("PatientName")
        parts = ("" if name is None else name.family_comma_given(), str(header.get("PatientID") or ""))
    except (InvalidDicomError, *PARSER_FAULTS):
        return "the patient can't be read"
    return ", ID ".join(part for part in parts if part) or "without a name"
