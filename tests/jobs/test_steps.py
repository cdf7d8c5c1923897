"""The steps without a queue: what each outcome is called, and that none raises."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest

from sbnode import metrics
from sbnode.audit import Audit
from sbnode.config import Config, ResultObject
from sbnode.errors import (
    ConfigError,
    DestinationRefused,
    DestinationUnavailable,
    ModelError,
    NoSkullBase,
    UnsafeGeometry,
    UnsafeResult,
)
from sbnode.jobs.manifest import Manifest
from sbnode.jobs.steps import Steps, retry_delay_s
from sbnode.spool import Spool
from tests.jobs.fakes import MODELS, config, fake_run, fill


def steps(folder: Path, *, run: object = fake_run, store: object = lambda *_: 0) -> tuple[Steps, Spool, str]:
    """Steps over a spool that holds one study, and the id of that study."""
    spool = Spool(folder / "spool", 0)
    manifest = Manifest.of(fill(spool))
    manifest.write(spool, manifest.study_id)
    made = Steps(config(folder / "spool", 11113), spool, MODELS, run, store)  # type: ignore[arg-type]
    return made, spool, manifest.study_id


def raises(error: Exception) -> object:
    def run(*_: object, **__: object) -> None:
        raise error

    return run


def test_retries_double_up_to_the_longest_and_spread_by_a_fifth() -> None:
    assert [retry_delay_s(n, 30, 600, 0.5) for n in range(1, 8)] == [30, 60, 120, 240, 480, 600, 600]
    assert retry_delay_s(1, 30, 600, 0.0) == pytest.approx(24)
    assert retry_delay_s(9, 30, 600, 1.0) == pytest.approx(720)


def test_choose_names_the_job_and_keeps_its_manifest(tmp_path: Path) -> None:
    made, spool, study = steps(tmp_path)
    outcome = made.choose(study)
    assert outcome["status"] == "done"
    assert made.choose(study) == outcome
    kept = Manifest.read(spool, outcome["job"])
    assert replace(kept, chosen="") == Manifest.read(spool, study)
    assert kept.chosen == "1.2.3.1"


def test_a_job_of_other_settings_is_superseded_by_the_one_of_now(tmp_path: Path) -> None:
    made, spool, study = steps(tmp_path)
    old = made.choose(study)["job"]
    made._config = made._config.model_copy(update={"region": "all_bone"})
    outcome = made.process(old)
    assert outcome["status"] == "superseded"
    assert outcome["job"] == made.choose(study)["job"] != old
    kept = Manifest.read(spool, outcome["job"])
    assert replace(kept, chosen="") == Manifest.read(spool, study)
    assert kept.chosen == "1.2.3.1"
    assert not (tmp_path / "runs").exists()


def test_process_runs_once_and_a_repeat_finds_the_result(tmp_path: Path) -> None:
    made, spool, study = steps(tmp_path)
    job = made.choose(study)["job"]
    assert made.process(job) == {"status": "done", "priority": "normal"}
    assert made.process(job) == {"status": "done", "priority": "normal"}
    assert (tmp_path / "runs").read_text() == "run\n"
    assert {path.name for path in spool.result_folder(job).iterdir()} == {"seg.dcm", "stl.dcm"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoSkullBase("the scan shows no skull base"), "rejected", "no_skull_base"),
        (UnsafeGeometry("a gap of 12.0 mm"), "rejected", "unsafe_geometry"),
        (ModelError("model.onnx has another hash"), "failed", "ModelError"),
        (OSError(5, "Input/output error"), "unavailable", "device"),
        (OSError(28, "No space left on device"), "paused", "storage_full"),
        (ValueError("CANARY^PATIENT"), "failed", "unexpected"),
        (MemoryError(), "failed", "unexpected"),
    ],
)
def test_what_the_pipeline_raises_becomes_an_outcome_without_patient_data(
    tmp_path: Path, error: Exception, status: str, code: str
) -> None:
    made, spool, study = steps(tmp_path, run=raises(error))
    job = made.choose(study)["job"]
    outcome = made.process(job)
    assert (outcome["status"], outcome["code"]) == (status, code)
    assert "CANARY" not in outcome["reason"]
    assert not spool.result_folder(job).exists()
    assert made.running == 0


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda *_: 0x0000, "delivered"),
        (lambda *_: 0xB000, "warned"),
        (raises(DestinationUnavailable("it is down")), "unavailable"),
        (raises(DestinationRefused("0xA900")), "refused"),
        (raises(ConfigError("its certificate can't be read")), "failed"),
        (raises(RuntimeError("CANARY^PATIENT")), "failed"),
    ],
)
def test_what_a_destination_does_becomes_an_outcome_and_is_counted(tmp_path: Path, answer: object, status: str) -> None:
    made, _, study = steps(tmp_path, store=answer)
    job = made.choose(study)["job"]
    made.process(job)
    counter = metrics.DELIVERIES.labels("d0", "seg", status)
    before = counter._value.get()
    outcome = made.deliver(job, "d0", "seg")
    assert outcome["status"] == status
    assert "CANARY" not in str(outcome)
    assert counter._value.get() == before + 1


@pytest.mark.parametrize("kind", get_args(ResultObject))
def test_every_object_that_a_destination_may_list_has_a_file(tmp_path: Path, kind: str) -> None:
    sent: list[Path] = []

    def store(path: Path, *_: object) -> int:
        sent.append(path)
        return 0x0000

    made, spool, study = steps(tmp_path, store=store)
    job = made.choose(study)["job"]
    made.process(job)
    assert made.deliver(job, "d0", kind)["status"] == "delivered"
    assert sent == [spool.result_folder(job) / f"{kind}.dcm"]


def test_the_audit_trail_has_what_was_sent_and_what_was_refused(tmp_path: Path) -> None:
    answers = iter([0x0000, DestinationRefused("0xA900")])

    def store(*_: object) -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    made, _, study = steps(tmp_path, store=store)
    made._audit = Audit(tmp_path / "audit.jsonl", "SBNODE")
    job = made.choose(study)["job"]
    made.process(job)
    assert [made.deliver(job, "d0", kind)["status"] for kind in ("seg", "stl")] == ["delivered", "refused"]
    records = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [record["EventOutcomeIndicator"] for record in records] == [0, 8]


def test_an_object_without_its_manifest_is_not_sent(tmp_path: Path) -> None:
    sent: list[object] = []
    made, spool, study = steps(tmp_path, store=lambda *a: sent.append(a) or 0)
    job = made.choose(study)["job"]
    made.process(job)
    Manifest.remove(spool, job)
    assert made.deliver(job, "d0", "seg")["status"] == "failed"
    assert sent == []


@pytest.mark.parametrize(("refused", "sent"), [(False, "labelmap"), (True, "seg")])
def test_a_destination_without_label_maps_gets_the_binary_segmentation(
    tmp_path: Path, refused: bool, sent: str
) -> None:
    def store(path: Path, *_: object) -> int:
        if refused and path.name == "labelmap.dcm":
            raise DestinationRefused("no presentation context")
        return 0x0000

    made, _, study = steps(tmp_path, store=store)
    both = made._destinations["d0"]
    made._destinations["d0"] = both.model_copy(update={"objects": ("labelmap", "stl")})
    job = made.choose(study)["job"]
    made.process(job)
    outcome = made.deliver(job, "d0", "labelmap")
    assert (outcome["status"], outcome["sent"]) == ("delivered", sent)
    # Where the binary one is listed too, it isn't sent twice.
    made._destinations["d0"] = both.model_copy(update={"objects": ("seg", "labelmap")})
    assert made.deliver(job, "d0", "labelmap")["status"] == ("refused" if refused else "delivered")


def test_a_result_that_viewers_would_misplace_is_counted(tmp_path: Path) -> None:
    passed, failed = (metrics.VIEWER_CHECKS.labels(outcome)._value.get() for outcome in ("passed", "failed"))
    made, _, study = steps(tmp_path, run=raises(UnsafeResult("seg.dcm would be shown wrongly")))
    assert made.process(made.choose(study)["job"])["code"] == "UnsafeResult"
    good, _, study = steps(tmp_path / "good")
    good.process(good.choose(study)["job"])
    assert metrics.VIEWER_CHECKS.labels("failed")._value.get() == failed + 1
    assert metrics.VIEWER_CHECKS.labels("passed")._value.get() == passed + 1


def test_an_instance_that_left_the_spool_is_a_failure_with_its_number(tmp_path: Path) -> None:
    made, spool, study = steps(tmp_path)
    spool.series("1.2.3")[0].instances[0].path.unlink()
    outcome = made.choose(study)
    assert outcome["status"] == "failed"
    assert "1 of 50 instances" in outcome["reason"]


def test_a_delivery_to_a_destination_that_left_the_configuration_fails_in_words(tmp_path: Path) -> None:
    made, _, study = steps(tmp_path)
    job = made.choose(study)["job"]
    outcome = made.deliver(job, "gone", "seg")
    assert outcome["status"] == "failed"
    assert "gone" in outcome["reason"]


def ruled(folder: Path, *rules: dict[str, object], now: str = "2026-01-01 12:00", **queue: object) -> tuple[Steps, str]:
    """Steps with rules over a spool with one study, and the id of the study."""
    _, spool, study = steps(folder)
    settings = config(folder / "spool", 11113, 11114, **queue)  # type: ignore[arg-type]
    settings = Config.model_validate({**settings.model_dump(), "rules": rules})
    return Steps(settings, spool, MODELS, fake_run, now=lambda: datetime.fromisoformat(now)), study


def test_what_a_rule_decides_stays_whatever_the_rules_say_later(tmp_path: Path) -> None:
    made, study = ruled(tmp_path, {"name": "er", "priority": "high", "destinations": ["d1"], "region": "all_bone"})
    first = made.choose(study)
    assert first["priority"] == "high"
    job = first["job"]
    made._config = made._config.model_copy(update={"rules": ()})
    assert made.process(job) == {"status": "done", "priority": "high"}
    assert made.deliveries(job) == (("d1", "seg"), ("d1", "stl"))


def test_the_job_of_a_region_that_a_rule_wants_is_that_of_a_node_with_this_region(tmp_path: Path) -> None:
    made, study = ruled(tmp_path, {"name": "all", "region": "all_bone"})
    by_rule = made.choose(study)["job"]
    made._config = made._config.model_copy(update={"rules": (), "region": "all_bone"})
    assert made.choose(study)["job"] == by_rule
    made._config = made._config.model_copy(update={"region": "skull_base"})
    assert made.choose(study)["job"] != by_rule


def test_a_study_that_a_rule_leaves_alone_is_no_fault(tmp_path: Path) -> None:
    made, study = ruled(tmp_path, {"name": "spine", "when": {"PatientName": {"exists": True}}, "take": False})
    outcome = made.choose(study)
    assert outcome["status"] == "left_alone"
    assert "spine" in outcome["reason"]
    assert "CANARY" not in str(outcome)


def test_a_job_of_low_priority_is_put_off_until_its_hours(tmp_path: Path) -> None:
    rule = {"name": "research", "priority": "low"}
    made, study = ruled(tmp_path, rule, low_priority_hours="19:00-07:00")
    job = made.choose(study)["job"]
    outcome = made.process(job)
    assert (outcome["status"], outcome["wait_s"]) == ("postponed", "25200.0")
    made._now = lambda: datetime.fromisoformat("2026-01-01 19:00")
    assert made.process(job)["status"] == "done"


def test_a_job_of_normal_priority_is_never_put_off(tmp_path: Path) -> None:
    made, study = ruled(tmp_path, low_priority_hours="19:00-07:00")
    assert made.process(made.choose(study)["job"])["status"] == "done"
