"""Results are filed under the patient and study that their instances name now, whatever they named before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from sbnode.config import Rule
from sbnode.errors import UnsafeResult
from sbnode.jobs.manifest import Manifest
from sbnode.jobs.steps import Steps
from sbnode.spool import Spool
from tests.integration.peers import PATIENCE_S, wait_until
from tests.jobs.conftest import Node, PeerFactory
from tests.jobs.fakes import MODELS, config, fake_run, free_port
from tests.scp.instances import ct_slice, encoded

SLICES = 50


def send(spool: Spool, patient: str, slices: int = SLICES, first: int = 1) -> Manifest:
    for number in range(first, first + slices):
        dataset = ct_slice(number, study="1.2.3", series="1.2.3.1", patient=patient)
        spool.store(CTImageStorage, dataset.SOPInstanceUID, ExplicitVRLittleEndian, "PACS", encoded(dataset))
    manifest = Manifest.of(spool.series("1.2.3"))
    manifest.write(spool, manifest.study_id)
    return manifest


def steps(folder: Path, run: Callable[..., Any] = fake_run, sent: list[Path] | None = None) -> tuple[Steps, Spool]:
    spool = Spool(folder / "spool", 0)

    def store(path: Path, *_: object) -> int:
        if sent is not None:
            sent.append(path)
        return 0

    return Steps(config(folder / "spool", 11113), spool, MODELS, run, store), spool


def test_a_corrected_study_has_another_name_and_another_job(tmp_path: Path) -> None:
    made, spool = steps(tmp_path)
    first = send(spool, "A")
    job = made.choose(first.study_id)["job"]
    second = send(spool, "B")
    assert second.study_id != first.study_id
    assert made.choose(second.study_id)["job"] != job
    assert send(spool, "B").study_id == second.study_id


def test_a_study_that_is_corrected_in_part_is_rejected_until_the_rest_comes(tmp_path: Path) -> None:
    made, spool = steps(tmp_path)
    send(spool, "A")
    outcome = made.choose(send(spool, "B", slices=20).study_id)
    assert (outcome["status"], outcome["code"]) == ("rejected", "several_patients")
    assert made.choose(send(spool, "B").study_id)["status"] == "done"
    assert len(spool.series("1.2.3")[0].instances) == SLICES


def test_new_instances_of_another_patient_in_the_study_are_rejected_and_kept(tmp_path: Path) -> None:
    made, spool = steps(tmp_path)
    send(spool, "A")
    outcome = made.choose(send(spool, "B", first=101).study_id)
    assert (outcome["status"], outcome["code"]) == ("rejected", "several_patients")
    assert "2 different patients (50 and 50 images)" in outcome["reason"]
    assert len(spool.series("1.2.3")[0].instances) == 2 * SLICES


def test_a_queued_job_is_superseded_by_the_corrected_one(tmp_path: Path) -> None:
    made, spool = steps(tmp_path)
    job = made.choose(send(spool, "A").study_id)["job"]
    corrected = send(spool, "B")
    outcome = made.process(job)
    assert outcome["status"] == "superseded"
    assert outcome["job"] == made.choose(corrected.study_id)["job"]
    assert made.process(outcome["job"])["status"] == "done"


def test_a_study_that_is_corrected_before_it_is_chosen_makes_the_job_of_now(tmp_path: Path) -> None:
    sent: list[Path] = []
    made, spool = steps(tmp_path, sent=sent)
    first = send(spool, "A")
    corrected = send(spool, "B")
    job = made.choose(first.study_id)["job"]
    assert job == made.choose(corrected.study_id)["job"]
    made.process(job)
    assert made.deliver(job, "d0", "seg")["status"] == "delivered"
    assert len(sent) == 1


@pytest.mark.parametrize("kept_back", [False, True])
def test_a_correction_while_the_job_runs_supersedes_it(tmp_path: Path, kept_back: bool) -> None:
    def corrected_meanwhile(*arguments: Any, **keywords: Any) -> Any:
        send(spool, "B")
        if kept_back:
            raise UnsafeResult("PatientID differs from the source")
        return fake_run(*arguments, **keywords)

    made, spool = steps(tmp_path, corrected_meanwhile)
    job = made.choose(send(spool, "A").study_id)["job"]
    assert made.process(job)["status"] == "superseded"
    assert not spool.result_folder(job).exists()


def test_results_of_before_the_correction_are_no_longer_sent(tmp_path: Path) -> None:
    sent: list[Path] = []
    made, spool = steps(tmp_path, sent=sent)
    job = made.choose(send(spool, "A").study_id)["job"]
    made.process(job)
    corrected = made.choose(send(spool, "B").study_id)["job"]
    made.process(corrected)
    assert made.deliver(job, "d0", "seg")["status"] == "superseded"
    assert made.deliver(corrected, "d0", "seg")["status"] == "delivered"
    assert [path.parent.name for path in sent] == [corrected]


def test_a_late_slice_does_not_hold_back_the_first_results(tmp_path: Path) -> None:
    made, spool = steps(tmp_path)
    job = made.choose(send(spool, "A").study_id)["job"]
    made.process(job)
    send(spool, "A", slices=1, first=SLICES + 1)
    assert made.deliver(job, "d0", "seg")["status"] == "delivered"


def test_the_queue_delivers_the_corrected_results_and_not_the_others(
    spool_path: Path, node: Callable[..., Node], peer: PeerFactory
) -> None:
    """The destination is down when the first results are made; the correction comes before it is up."""
    port = free_port()
    running = node(config(spool_path, port, attempts=100))
    send(running.spool, "A")
    running.queue.submit(running.spool.series("1.2.3"))
    first = running.item("study")
    # Study, process and two deliveries that wait for the destination.
    wait_until(lambda: len(running.queue.items()) == 4, PATIENCE_S, "the first results were made")
    send(running.spool, "B")
    running.queue.submit(running.spool.series("1.2.3"))
    wait_until(lambda: len(running.queue.items()) == 8, PATIENCE_S, "the corrected results were made")
    archive = peer(port)
    running.settle(8)
    corrected = {item.job for item in running.queue.items()} - {running.queue.find(first.id)[0].job}
    assert len(corrected) == 1
    assert len(archive.received) == 2


def test_what_a_rule_decided_holds_for_the_corrected_job_too(tmp_path: Path) -> None:
    made, spool = steps(tmp_path)
    rule = Rule(name="low", priority="low", destinations=(), region="all_bone")
    made._config = made._config.model_copy(update={"rules": (rule,)})
    old = made.choose(send(spool, "A").study_id)["job"]
    made._config = made._config.model_copy(update={"rules": ()})
    send(spool, "B")
    outcome = made.process(old)
    assert (outcome["status"], outcome["priority"]) == ("superseded", "low")
    assert Manifest.read(spool, outcome["job"]).decision == Manifest.read(spool, old).decision
    assert made.process(outcome["job"])["status"] == "done"


def test_a_correction_of_another_series_leaves_the_job_and_its_deliveries_alone(tmp_path: Path) -> None:
    sent: list[Path] = []
    made, spool = steps(tmp_path, sent=sent)
    localizer = [ct_slice(n, study="1.2.3", series="1.2.3.2", patient="A") for n in (201, 202)]

    def store_localizer() -> None:
        for one in localizer:
            spool.store(CTImageStorage, one.SOPInstanceUID, ExplicitVRLittleEndian, "PACS", encoded(one))

    store_localizer()
    job = made.choose(send(spool, "A").study_id)["job"]
    assert made.process(job)["status"] == "done"
    for one in localizer:
        one.AccessionNumber = "CORRECTED"
    store_localizer()
    corrected = Manifest.of(spool.series("1.2.3"))
    corrected.write(spool, corrected.study_id)
    assert made.choose(corrected.study_id)["job"] == job
    assert made.deliver(job, "d0", "seg")["status"] == "delivered"
    assert len(sent) == 1


def test_a_damaged_instance_does_not_let_results_of_another_patient_out(tmp_path: Path) -> None:
    sent: list[Path] = []
    made, spool = steps(tmp_path, sent=sent)
    job = made.choose(send(spool, "A").study_id)["job"]
    assert made.process(job)["status"] == "done"
    send(spool, "B")
    path = spool.series("1.2.3")[0].instances[-1].path
    path.write_bytes(path.read_bytes()[:-10])
    assert made.deliver(job, "d0", "seg")["status"] == "failed"
    assert sent == []
