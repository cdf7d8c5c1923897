"""What the steps of a job leave in the metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import Counter, Histogram

from sbnode import metrics
from sbnode.errors import DestinationUnavailable, ModelError
from sbnode.jobs.manifest import Manifest
from sbnode.jobs.steps import Steps
from sbnode.spool import Spool
from tests.jobs.fakes import MODELS, config, fake_run, fill


def value(family: Counter | Histogram | metrics.Labelled[Counter] | metrics.Labelled[Histogram], *labels: str) -> float:
    """How often something was counted; of a histogram, how many observations."""
    if isinstance(family, metrics.Labelled):
        family = family.labels(*labels)
    (found,) = family.collect()
    return sum(sample.value for sample in found.samples if sample.name.endswith(("_total", "_count")))


def steps(
    folder: Path, *, run: object = fake_run, store: object = lambda *_: 0, objective_s: float = 600.0
) -> tuple[Steps, str]:
    """Steps over a spool with one study, and the key of its job."""
    settings = config(folder / "spool", 11113)
    settings = settings.model_copy(
        update={"monitoring": settings.monitoring.model_copy(update={"objective_s": objective_s})}
    )
    spool = Spool(settings.spool.path, 0)
    manifest = Manifest.of(fill(spool))
    manifest.write(spool, manifest.study_id)
    made = Steps(settings, spool, MODELS, run, store)  # type: ignore[arg-type]
    return made, made.choose(manifest.study_id)["job"]


def increases(before: Iterable[float], after: Iterable[float]) -> list[float]:
    return [new - old for old, new in zip(before, after, strict=True)]


def test_a_job_is_counted_timed_and_described(tmp_path: Path) -> None:
    def numbers() -> list[float]:
        return [
            value(metrics.JOBS, "done"),
            value(metrics.STAGE_DURATION, "inference"),
            value(metrics.INFERENCE_DURATION, "cpu"),
            value(metrics.FINDINGS, "gantry_tilt"),
            value(metrics.FLAGS, "soft_kernel"),
            value(metrics.SLICE_THICKNESS, "other"),
            value(metrics.NOISE, "other"),
            value(metrics.VOLUME, "other"),
            value(metrics.INFERRED_RATIO, "other"),
        ]

    made, job = steps(tmp_path)
    before = numbers()
    assert made.process(job)["status"] == "done"
    assert increases(before, numbers()) == [1] * 9
    assert made.process(job)["status"] == "done"  # its results are there already
    assert increases(before, numbers()) == [1] * 9


@pytest.mark.parametrize(("objective_s", "expected"), [(600.0, [1, 0]), (1e-6, [0, 1])])
def test_an_accepted_object_meets_the_objective_or_not(
    tmp_path: Path, objective_s: float, expected: list[float]
) -> None:
    def numbers() -> list[float]:
        return [value(metrics.OBJECTIVE, "met"), value(metrics.OBJECTIVE, "missed")]

    made, job = steps(tmp_path, objective_s=objective_s)
    made.process(job)
    before, timed = numbers(), value(metrics.DELIVERY_DURATION, "d0")
    assert made.deliver(job, "d0", "seg")["status"] == "delivered"
    assert increases(before, numbers()) == expected
    assert value(metrics.DELIVERY_DURATION, "d0") == timed + 1


def test_what_was_released_or_is_of_low_priority_is_no_part_of_the_objective(tmp_path: Path) -> None:
    """Two weeks in shadow mode, then `jobs release --all`: that raised a critical alert."""

    def numbers() -> list[float]:
        outcomes = [value(metrics.OBJECTIVE, outcome) for outcome in ("met", "missed")]
        return [*outcomes, value(metrics.END_TO_END), value(metrics.DELIVERY_DURATION, "d0")]

    made, job = steps(tmp_path, objective_s=1e-6)
    made.process(job)
    before = numbers()
    assert made.deliver(job, "d0", "seg", released=True)["status"] == "delivered"
    assert increases(before, numbers()) == [0, 0, 0, 1]
    path = tmp_path / "spool" / "jobs" / f"{job}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "decision": {**content["decision"], "priority": "low"}}))
    assert made.deliver(job, "d0", "seg")["status"] == "delivered"
    assert increases(before, numbers()) == [0, 0, 0, 2]


def test_an_attempt_that_fails_is_counted_and_not_timed(tmp_path: Path) -> None:
    def unavailable(*_: object) -> int:
        raise DestinationUnavailable("destination 'd0' does not answer")

    made, job = steps(tmp_path, store=unavailable)
    made.process(job)
    before = [value(metrics.DELIVERIES, "d0", "seg", "unavailable"), value(metrics.END_TO_END)]
    assert made.deliver(job, "d0", "seg")["status"] == "unavailable"
    assert increases(before, [value(metrics.DELIVERIES, "d0", "seg", "unavailable"), value(metrics.END_TO_END)]) == [
        1,
        0,
    ]


def test_a_destination_that_left_the_configuration_is_other(tmp_path: Path) -> None:
    made, job = steps(tmp_path)
    made.process(job)
    before = value(metrics.DELIVERIES, "other", "seg", "failed")
    assert made.deliver(job, "gone", "seg")["status"] == "failed"
    assert value(metrics.DELIVERIES, "other", "seg", "failed") == before + 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ModelError("the network failed"), "model"), (MemoryError(), "out_of_memory"), (ValueError("x"), "unexpected")],
)
def test_a_failure_has_a_class(tmp_path: Path, error: Exception, reason: str) -> None:
    def run(*_: object, **__: object) -> None:
        raise error

    made, job = steps(tmp_path, run=run)
    before = value(metrics.JOB_FAILURES, reason)
    assert made.process(job)["status"] == "failed"
    assert value(metrics.JOB_FAILURES, reason) == before + 1


def test_the_scanner_is_that_of_the_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, job = steps(tmp_path)
    monkeypatch.setattr("sbnode.jobs.observed.read_file", lambda path: {"ManufacturerModelName": "LightSpeed VCT"})
    before = value(metrics.VOLUME, "LightSpeed VCT")
    made.process(job)
    assert value(metrics.VOLUME, "LightSpeed VCT") == before + 1
