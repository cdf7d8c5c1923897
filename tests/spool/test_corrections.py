"""An archive sends a study again after a correction or merge of patients: the newest patient and study data win."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sbnode.errors import ConflictingInstance, StorageFull
from sbnode.series import read_instance
from sbnode.spool import Spool, Stored
from sbnode.spool.record import Record
from tests.scp.instances import SERIES, STUDY, ct_slice, encoded

encoded_record = Record._encoded

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", min_free_bytes=0)


def keep(spool: Spool, dataset: Dataset, syntax: str = ExplicitVRLittleEndian, sender: str = "PACS") -> Stored:
    return spool.store(CTImageStorage, dataset.SOPInstanceUID, syntax, sender, encoded(dataset, syntax))


def other_patients(dataset: Dataset) -> None:
    item = Dataset()
    item.PatientID = "OLD"
    dataset.OtherPatientIDsSequence = Sequence([item])


def coerced(dataset: Dataset) -> None:
    """What a PACS writes when it corrects (PS3.4 C.4.1.3.2): the old values, and an identity in full."""
    modified = Dataset()
    modified.PatientID = "CANARY-ID"
    original = Dataset()
    original.ModifiedAttributesSequence = Sequence([modified])
    dataset.OriginalAttributesSequence = Sequence([original])
    dataset.PatientID = "CORRECTED"


CORRECTIONS: dict[str, Callable[[Dataset], None]] = {
    "patient ID": lambda d: setattr(d, "PatientID", "CORRECTED"),
    "name": lambda d: setattr(d, "PatientName", "CANARY^CORRECTED"),
    "birth date": lambda d: setattr(d, "PatientBirthDate", "19700101"),
    "accession number": lambda d: setattr(d, "AccessionNumber", "4711"),
    "study description": lambda d: setattr(d, "StudyDescription", "Skull base"),
    "study ID": lambda d: setattr(d, "StudyID", "7"),
    "other patient IDs": other_patients,
    "with the original attributes": coerced,
}


@pytest.mark.parametrize("correct", CORRECTIONS.values(), ids=CORRECTIONS)
def test_a_correction_of_patient_or_study_takes_the_place_of_the_first(
    spool: Spool, correct: Callable[[Dataset], None]
) -> None:
    first = keep(spool, ct_slice())
    corrected = ct_slice()
    correct(corrected)
    stored = keep(spool, corrected)
    assert stored.new
    assert (stored.path, stored.instance.corrections) == (first.path, 1)
    assert stored.path.read_bytes().endswith(encoded(corrected))
    (series,) = spool.series(STUDY)
    assert series.instances == (stored.instance,)
    spool.verify(series)
    assert not keep(spool, corrected).new


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_it_does_so_in_every_syntax(spool: Spool, syntax: str) -> None:
    keep(spool, ct_slice(), syntax)
    stored = keep(spool, ct_slice(patient="CORRECTED"), syntax)
    assert pydicom.dcmread(stored.path).PatientID == "CORRECTED"
    assert stored.instance.filing == read_instance(stored.path).filing


def test_going_back_to_the_first_is_a_correction_too(spool: Spool) -> None:
    digests = []
    for patient in ("A", "B", "A"):
        assert keep(spool, ct_slice(patient=patient)).new
        digests.append(spool.series(STUDY)[0].digest)
    assert len(set(digests)) == 3


def test_a_late_copy_of_what_was_corrected_changes_nothing(spool: Spool) -> None:
    """A modality repeats its sending after the archive has corrected the patient."""
    keep(spool, ct_slice(patient="WRONG"), sender="MODALITY")
    corrected = keep(spool, ct_slice(patient="RIGHT"))
    late = keep(spool, ct_slice(patient="WRONG"), sender="MODALITY")
    assert (late.new, late.late, late.instance) == (False, True, corrected.instance)
    assert pydicom.dcmread(corrected.path).PatientID == "RIGHT"
    twice = keep(spool, ct_slice(patient="BEST"))
    for patient in ("WRONG", "RIGHT"):
        assert keep(spool, ct_slice(patient=patient), sender="MODALITY").late
    assert spool.series(STUDY)[0].instances == (twice.instance,)


def test_who_corrected_may_take_it_back(spool: Spool) -> None:
    keep(spool, ct_slice(patient="RIGHT"), sender="MODALITY")
    keep(spool, ct_slice(patient="WRONG"))
    back = keep(spool, ct_slice(patient="RIGHT"))
    assert (back.new, back.late, back.instance.corrections) == (True, False, 2)
    assert pydicom.dcmread(back.path).PatientID == "RIGHT"
    assert keep(spool, ct_slice(patient="WRONG"), sender="MODALITY").late


def test_a_late_copy_of_an_instance_that_came_corrected_changes_nothing(tmp_path: Path, spool: Spool) -> None:
    """The modality broke off half-way, the archive sent all of it corrected, the modality began again."""
    for number in (1, 2):
        keep(spool, ct_slice(number, patient="WRONG"), sender="MODALITY")
    for number in (1, 2, 3, 4):
        keep(spool, ct_slice(number, patient="RIGHT"))
    again = Spool(spool.path, 0)  # after a restart too
    for number in (3, 4, 1, 2):
        assert keep(again, ct_slice(number, patient="WRONG"), sender="MODALITY").late
    assert {pydicom.dcmread(i.path).PatientID for i in again.series(STUDY)[0].instances} == {"RIGHT"}


def send(spool: Spool, patient: str, *numbers: int, sender: str) -> list[bool]:
    """Send some images; whether each came too late."""
    return [keep(spool, ct_slice(number, patient=patient), sender=sender).late for number in numbers]


def patients(spool: Spool) -> list[str]:
    return [str(pydicom.dcmread(instance.path).PatientID) for instance in spool.series(STUDY)[0].instances]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_who_corrected_may_change_its_mind_any_number_of_times(spool: Spool, restart: bool) -> None:
    """Once, an image that was right already when the archive went back to A was then refused as B."""
    send(spool, "A", 1, 2, 3, sender="MODALITY")
    send(spool, "B", 1, sender="PACS")  # and the association broke
    for patient in ("A", "B", "A", "B", "C", "A", "C"):
        spool = Spool(spool.path, 0) if restart else spool
        assert not any(send(spool, patient, 3, 2, 1, sender="PACS"))
        assert patients(spool) == [patient] * 3
        if patient != "A":
            assert all(send(spool, "A", 1, 2, 3, sender="MODALITY"))


def test_an_instance_that_the_modality_sends_after_the_correction_was_taken_back_is_corrected_too(spool: Spool) -> None:
    send(spool, "A", 1, sender="MODALITY")
    for patient in ("B", "A"):
        send(spool, patient, 1, sender="PACS")
    send(spool, "A", 2, sender="MODALITY")
    assert not any(send(spool, "B", 2, 1, sender="PACS"))
    assert patients(spool) == ["B", "B"]


def test_of_two_archives_only_the_one_that_corrected_takes_it_back(tmp_path: Path, spool: Spool) -> None:
    send(spool, "A", 1, 2, sender="MODALITY")
    send(spool, "B", 1, 2, sender="PACS")
    assert all(send(spool, "A", 1, 2, sender="VNA"))
    assert not any(send(spool, "B", 1, 2, sender="VNA"))  # the same bytes
    send(spool, "A", 1, 2, sender="PACS")
    spool = Spool(spool.path, 0)
    assert all(send(spool, "B", 1, 2, sender="VNA"))
    assert patients(spool) == ["A", "A"]
    assert not any(send(spool, "C", 1, 2, sender="VNA"))  # what nobody sent before is a correction, by whomever
    for patient in ("A", "B"):
        assert all(send(spool, patient, 1, 2, sender="PACS"))
    assert not any(send(spool, "B", 1, 2, sender="VNA"))
    assert patients(spool) == ["B", "B"]


def test_two_archives_that_share_a_correction_may_both_take_it_back(spool: Spool) -> None:
    """Two nodes of one archive, with titles of their own: each sends a part."""
    send(spool, "A", 1, 2, sender="MODALITY")
    send(spool, "B", 1, sender="PACS1")
    assert not any(send(spool, "B", 2, sender="PACS2"))
    assert not any(send(spool, "A", 1, sender="PACS2") + send(spool, "A", 2, sender="PACS1"))
    assert patients(spool) == ["A", "A"]


def test_a_modality_that_corrected_too_does_not_take_back_what_the_archive_corrected_after_it(spool: Spool) -> None:
    """It repeats its whole queue: the first version and its own correction."""
    send(spool, "A", 1, 2, sender="MODALITY")
    send(spool, "B", 1, 2, sender="MODALITY")
    send(spool, "C", 1, 2, 3, sender="PACS")
    for patient in ("A", "B"):
        assert all(send(spool, patient, 1, 2, 3, sender="MODALITY"))
    assert patients(spool) == ["C"] * 3


def test_an_old_version_stays_so_in_an_instance_that_never_had_it(spool: Spool) -> None:
    send(spool, "A", 1, sender="MODALITY")
    send(spool, "B", 1, 2, sender="PACS")
    send(spool, "C", 2, sender="PACS")
    spool = Spool(spool.path, 0)
    assert all(send(spool, "A", 1, 2, sender="MODALITY"))
    assert patients(spool) == ["B", "C"]
    assert not any(send(spool, "B", 2, sender="PACS"))


@pytest.mark.parametrize("seed", range(20))
def test_however_sending_interleaves_the_word_of_the_one_archive_that_corrects_holds(spool: Spool, seed: int) -> None:
    draw = random.Random(seed)
    numbers = (1, 2, 3)
    send(spool, "A", *numbers, sender="MODALITY")
    word = dict.fromkeys(numbers, "A")
    for _ in range(30):
        some = draw.sample(numbers, draw.randint(1, 3))
        who = draw.choice(["archive", "modality", "restart"])
        if who == "archive":
            patient = draw.choice("ABC")
            send(spool, patient, *some, sender="PACS")
            word.update(dict.fromkeys(some, patient))
        elif who == "modality":
            send(spool, "A", *some, sender="MODALITY")
        else:
            spool = Spool(spool.path, 0)
        assert patients(spool) == [word[number] for number in numbers]


def test_of_a_spool_that_did_not_note_senders_the_last_one_is_known(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(Record, "_encoded", lambda self: encoded_record(replace(self, senders=())))
        send(spool, "A", 1, 2, sender="MODALITY")
        for patient in ("B", "C"):
            send(spool, patient, 1, sender="PACS")
    spool = Spool(spool.path, 0)
    for patient in ("A", "B"):
        assert all(send(spool, patient, 1, sender="MODALITY"))
    assert not any(send(spool, "C", 2, sender="PACS") + send(spool, "B", 2, 1, sender="PACS"))


def test_versions_are_remembered_in_bounds(spool: Spool) -> None:
    for number in range(40):
        stored = keep(spool, ct_slice(patient=f"P{number}"))
    assert len(stored.instance.superseded) == 32
    assert stored.instance.corrections == 39


def test_going_back_and_forth_grows_nothing(spool: Spool) -> None:
    send(spool, "A", 1, sender="MODALITY")
    kept, held = set(), set()
    for number in range(40):
        stored = keep(spool, ct_slice(patient="BA"[number % 2]))
        if number >= 4:
            kept.add(len(stored.instance.superseded))
            held.add(spool._histories[stored.path.parent.parent].size)
    assert (kept, held) == ({4}, {5})
    assert stored.instance.corrections == 40


@pytest.mark.parametrize("mind", ["BA", "BC", "BCD"])
@pytest.mark.parametrize("times", [5, 31, 32, 33, 34, 35, 70])
def test_however_often_one_changed_its_mind_a_restart_decides_the_same(spool: Spool, times: int, mind: str) -> None:
    """Once, the first version was forgotten with the 33rd correction, by a node that was started again."""
    send(spool, "A", 1, sender="MODALITY")
    for number in range(times):
        assert not any(send(spool, mind[number % len(mind)], 1, sender="PACS"))
    send(spool, "Z", 1, sender="PACS")
    for running in (spool, Spool(spool.path, 0)):
        assert all(send(running, "A", 1, sender="MODALITY") + send(running, mind[0], 1, sender="VNA"))


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize(("others", "late"), [(31, True), (32, False)])
def test_a_version_is_remembered_until_32_others_came_after_it(
    spool: Spool, others: int, late: bool, restart: bool
) -> None:
    send(spool, "A", 1, sender="MODALITY")
    for number in range(others + 1):
        send(spool, f"P{number}", 1, sender="PACS")
    spool = Spool(spool.path, 0) if restart else spool
    assert send(spool, "A", 1, sender="MODALITY") == [late]


def test_a_history_that_is_too_long_is_made_anew_each_time(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sbnode.spool.spool._HISTORY_VERSIONS", 3)
    send(spool, "A", 1, 2, sender="MODALITY")
    for patient in "BCDA":
        assert not any(send(spool, patient, 1, 2, sender="PACS"))
        assert all(send(spool, "A", 1, 2, sender="MODALITY")) or patient == "A"
        assert sum(history.size for history in spool._histories.values()) <= 3
    assert patients(spool) == ["A", "A"]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_what_was_noted_with_a_damaged_instance_is_lost_with_it(spool: Spool, restart: bool) -> None:
    send(spool, "A", 1, 2, sender="MODALITY")
    send(spool, "B", 1, sender="PACS")
    path = next(spool.path.rglob(f"{SERIES}.1.dcm"))
    path.write_bytes(path.read_bytes()[:-10])
    send(spool, "B", 1, sender="PACS")
    spool = Spool(spool.path, 0) if restart else spool
    assert send(spool, "A", 1, sender="MODALITY") == [False]


def move(dataset: Dataset) -> None:
    dataset.ImagePositionPatient = [0, 0, 99]


def turn(dataset: Dataset) -> None:
    dataset.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


OTHER_IMAGES: dict[str, Callable[[Dataset], None]] = {
    "pixels": lambda d: setattr(d, "PixelData", np.full((16, 16), 7, np.int16).tobytes()),
    "position": move,
    "orientation": turn,
    "rescale": lambda d: setattr(d, "RescaleIntercept", "0"),
    "spacing": lambda d: setattr(d, "PixelSpacing", [1, 1]),
    "series": lambda d: setattr(d, "SeriesInstanceUID", f"{SERIES}.2"),
    "modality": lambda d: setattr(d, "Modality", "MR"),
}


@pytest.mark.parametrize("change", OTHER_IMAGES.values(), ids=OTHER_IMAGES)
def test_another_image_of_whatever_patient_is_refused(spool: Spool, change: Callable[[Dataset], None]) -> None:
    first = keep(spool, ct_slice())
    before = first.path.read_bytes()
    other = ct_slice(patient="CORRECTED")
    change(other)
    with pytest.raises(ConflictingInstance):
        keep(spool, other)
    assert first.path.read_bytes() == before


def test_the_same_patient_and_study_in_other_bytes_is_refused_as_before(spool: Spool) -> None:
    keep(spool, ct_slice())
    other = ct_slice()
    other.InstitutionName = "Elsewhere"
    with pytest.raises(ConflictingInstance):
        keep(spool, other)


def test_another_syntax_is_refused(spool: Spool) -> None:
    keep(spool, ct_slice())
    with pytest.raises(ConflictingInstance):
        keep(spool, ct_slice(patient="CORRECTED"), ImplicitVRLittleEndian)


def test_without_space_the_first_stays(spool: Spool) -> None:
    first = keep(spool, ct_slice())
    full = Spool(spool.path, min_free_bytes=10**18)
    with pytest.raises(StorageFull):
        keep(full, ct_slice(patient="CORRECTED"))
    assert pydicom.dcmread(first.path).PatientID == "CANARY-ID"


def test_a_device_that_fails_leaves_the_first_and_nothing_half_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keep(spool, ct_slice())

    def broken(*_: object) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="broken"):
        keep(spool, ct_slice(patient="CORRECTED"))
    assert pydicom.dcmread(first.path).PatientID == "CANARY-ID"
    assert [path for path in (spool.path / "tmp").rglob("*") if path.is_file() and path.name != ".lock"] == []


def test_it_is_flushed_before_it_is_named_and_its_folder_after(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(spool, ct_slice())
    order: list[str] = []
    fsync, named = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        order.append("flush " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        order.append("name " + target.name)
        named(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    keep(spool, ct_slice(patient="CORRECTED"))
    assert order[0].startswith("flush ")
    assert order[1:] == [f"name {SERIES}.1.dcm", f"flush {SERIES}"]


def test_senders_of_one_correction_at_once_all_succeed_and_count_it_once(spool: Spool) -> None:
    keep(spool, ct_slice())
    outcomes: list[bool] = []
    start = threading.Barrier(8)

    def send() -> None:
        start.wait()
        outcomes.append(keep(spool, ct_slice(patient="CORRECTED")).new)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]
    assert spool.series(STUDY)[0].instances[0].corrections == 1


def test_spelling_does_not_make_another_patient(spool: Spool) -> None:
    names = ["DOE^JANE", "Doe^Jane", "DOE^JANE^^^", "DOE^JANE "]
    patients = set()
    for number, name in enumerate(names, start=1):
        dataset = ct_slice(number)
        dataset.PatientName = name
        patients.add(keep(spool, dataset).instance.patient)
    assert len(patients) == 1
    assert keep(spool, ct_slice(9, patient="OTHER")).instance.patient not in patients


def test_one_series_sent_under_two_studies_is_two_pieces_of_work(spool: Spool) -> None:
    """Once, the second was taken for the first: its instances have the same UIDs."""
    for study in (STUDY, "1.2.3"):
        dataset = ct_slice(study=study)
        assert keep(spool, dataset).new
    (one,), (other,) = spool.series(STUDY), spool.series("1.2.3")
    assert one.digest != other.digest
