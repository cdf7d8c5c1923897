"""Instances of two patients come mixed: each study is kept, completed and made into a job of its own."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pynetdicom.association import Association

from sbnode.inference.selection import choose
from sbnode.series import Series
from tests.integration.peers import PATIENCE_S, wait_until
from tests.scp.conftest import Running, Start, associate
from tests.scp.instances import ct_slice
from tests.scp.test_receiver import send_slice

PATIENTS = {"1.2.3": "PATIENT-A", "1.2.4": "PATIENT-B"}
SLICES = 50


def send(association: Association, number: int, study: str, patient: str | None = None) -> int | None:
    dataset = ct_slice(number, study=study, series=f"{study}.1", patient=patient or PATIENTS[study])
    return send_slice(association, dataset)


def studies(running: Running, count: int) -> dict[str, Series]:
    """The complete studies, each with the series that is chosen of it."""
    found = {}
    for _ in range(count):
        study, _ = running.studies.get(timeout=PATIENCE_S)
        found[study] = choose(running.spool.series(study), running.receiver._config.selection).chosen
    return found


def patients(series: Series) -> set[str]:
    return {str(pydicom.dcmread(instance.path).PatientID) for instance in series.instances}


@pytest.mark.parametrize("associations", [1, 2])
def test_two_patients_mixed_slice_by_slice_are_two_studies(start: Start, associations: int) -> None:
    running = start()
    opened = [associate(running.port) for _ in range(associations)]
    for number in range(1, SLICES + 1):
        for which, study in enumerate(PATIENTS):
            assert send(opened[which % associations], number, study) == 0x0000
    for association in opened:
        association.release()
    found = studies(running, 2)
    assert {study: patients(series) for study, series in found.items()} == {
        study: {patient} for study, patient in PATIENTS.items()
    }
    assert {len(series.instances) for series in found.values()} == {SLICES}
    assert found["1.2.3"].digest != found["1.2.4"].digest


def test_a_study_that_is_sent_again_corrected_is_announced_again(
    start: Start, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    running = start()
    for patient in ("PATIENT-A", "MERGED-A"):
        association = associate(running.port)
        assert {send(association, number, "1.2.3", patient) for number in range(1, SLICES + 1)} == {0x0000}
        association.release()
        assert patients(studies(running, 1)["1.2.3"]) == {patient}
    assert len(running.spool.series("1.2.3")[0].instances) == SLICES
    output = "".join(capsys.readouterr())
    assert output.count("instance_corrected") == SLICES
    assert "MERGED-A" not in output
    wait_until(lambda: len(running.observed.transfers) == 2, PATIENCE_S, "both transfers were told")
    assert [dict(added) for _, added in running.observed.transfers] == [{"1.2.3": SLICES}] * 2
