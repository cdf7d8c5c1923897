"""Storing instances: what comes back, what is refused, and that the first data set of a UID stays."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from sbnode.errors import ConflictingInstance, NotUnderstood, SpoolError, StorageFull, WrongSopClass
from sbnode.series import SeriesKey, read_instance
from sbnode.spool import Spool, Stored
from tests.scp.instances import SERIES, STUDY, ct_slice, encoded

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", min_free_bytes=0)


def keep(spool: Spool, data_set: bytes, uid: str = f"{SERIES}.1", syntax: str = ExplicitVRLittleEndian) -> Stored:
    return spool.store(CTImageStorage, uid, syntax, "PACS", data_set)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_the_data_set_is_kept_byte_for_byte(spool: Spool, syntax: str) -> None:
    data_set = encoded(ct_slice(), syntax)
    stored = keep(spool, data_set, syntax=syntax)
    assert stored.new
    assert stored.path.read_bytes().endswith(data_set)
    assert pydicom.dcmread(stored.path).pixel_array.mean() == 100
    assert pydicom.dcmread(stored.path).file_meta.SourceApplicationEntityTitle == "PACS"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_a_listed_instance_has_the_facts_of_its_header(spool: Spool, syntax: str) -> None:
    stored = keep(spool, encoded(ct_slice(), syntax), syntax=syntax)
    (series,) = spool.series(STUDY)
    assert series.key == SeriesKey(STUDY, SERIES)
    assert series.instances == (stored.instance,)
    assert series.instances[0] == read_instance(stored.path)


def test_studies_and_counts(spool: Spool) -> None:
    for number in (1, 2, 3):
        keep(spool, encoded(ct_slice(number)), f"{SERIES}.{number}")
    keep(spool, encoded(ct_slice(1, study="1.2.3", series="1.2.3.4")), "1.2.3.4.1")
    assert spool.studies() == ("1.2.3", STUDY)
    assert spool.stored() == {SeriesKey(STUDY, SERIES): 3, SeriesKey("1.2.3", "1.2.3.4"): 1}
    assert spool.series("9.9") == ()


def test_the_same_data_set_again_is_no_new_instance(spool: Spool) -> None:
    first = keep(spool, encoded(ct_slice()))
    again = keep(spool, encoded(ct_slice()))
    assert not again.new
    assert (again.path, again.instance) == (first.path, first.instance)


def test_another_data_set_under_a_used_uid_is_refused_and_the_first_stays(spool: Spool) -> None:
    first = keep(spool, encoded(ct_slice(value=1)))
    before = first.path.read_bytes()
    with pytest.raises(ConflictingInstance):
        keep(spool, encoded(ct_slice(value=2)))
    assert first.path.read_bytes() == before


def test_a_used_uid_is_refused_in_another_series_of_the_study(spool: Spool) -> None:
    keep(spool, encoded(ct_slice()))
    with pytest.raises(ConflictingInstance):
        keep(spool, encoded(ct_slice(series="1.2.3", sop_instance_uid=f"{SERIES}.1")))


def test_one_of_several_senders_of_one_uid_wins(spool: Spool) -> None:
    outcomes: list[object] = []
    start = threading.Barrier(8)

    def send(value: int) -> None:
        start.wait()
        try:
            outcomes.append(keep(spool, encoded(ct_slice(value=value))).new)
        except ConflictingInstance:
            outcomes.append("conflict")

    threads = [threading.Thread(target=send, args=(index % 2,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(True) == 1
    assert outcomes.count(False) == 3
    assert outcomes.count("conflict") == 4


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "1.2/3", "1..2", "1." * 32 + "1", "1.2.3\n"])
def test_an_announced_uid_that_is_none_is_refused(spool: Spool, uid: str) -> None:
    with pytest.raises(NotUnderstood):
        keep(spool, encoded(ct_slice()), uid)
    assert spool.studies() == ()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", ["", "../../x", "/etc/x", "1." * 32 + "1"])
def test_a_uid_in_the_data_set_that_is_none_is_refused(spool: Spool, keyword: str, uid: str) -> None:
    dataset = ct_slice()
    dataset[keyword]._value = uid
    with pytest.raises(NotUnderstood):
        keep(spool, encoded(dataset))
    assert sorted(path.name for path in spool.path.iterdir()) == ["incoming", "results", "tmp"]
    assert spool.studies() == ()


def test_a_data_set_of_another_instance_or_class_is_refused(spool: Spool) -> None:
    with pytest.raises(NotUnderstood):
        keep(spool, encoded(ct_slice()), "1.2.3")
    with pytest.raises(WrongSopClass):
        spool.store(MRImageStorage, f"{SERIES}.1", ExplicitVRLittleEndian, "PACS", encoded(ct_slice()))


def test_an_mr_in_the_ct_class_is_taken(spool: Spool) -> None:
    dataset = ct_slice()
    dataset.Modality = "MR"
    assert keep(spool, encoded(dataset)).instance.modality == "MR"


def test_below_the_watermark_new_instances_are_refused_and_known_ones_are_not(spool: Spool) -> None:
    keep(spool, encoded(ct_slice(1)))
    full = Spool(spool.path, min_free_bytes=10**18)
    with pytest.raises(StorageFull):
        keep(full, encoded(ct_slice(2)), f"{SERIES}.2")
    assert not keep(full, encoded(ct_slice(1))).new


def test_a_truncated_file_is_found_and_healed_by_sending_it_again(spool: Spool) -> None:
    stored = keep(spool, encoded(ct_slice()))
    content = stored.path.read_bytes()
    stored.path.write_bytes(content[:-2])
    with pytest.raises(SpoolError, match="bytes instead of"):
        spool.series(STUDY)
    assert keep(spool, encoded(ct_slice())).new
    assert stored.path.read_bytes() == content


def test_an_altered_file_is_found(spool: Spool) -> None:
    stored = keep(spool, encoded(ct_slice()))
    spool.verify(spool.series(STUDY)[0])
    content = bytearray(stored.path.read_bytes())
    content[-1] ^= 1
    stored.path.write_bytes(content)
    with pytest.raises(SpoolError, match="checksum"):
        spool.verify(spool.series(STUDY)[0])


def test_a_file_that_is_no_instance_is_reported(spool: Spool) -> None:
    stored = keep(spool, encoded(ct_slice()))
    stored.path.with_name("1.2.3.dcm").write_bytes(b"nothing")
    with pytest.raises(SpoolError, match=r"1\.2\.3\.dcm"):
        spool.series(STUDY)


def test_facts_of_another_version_are_read_anew(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sbnode.spool.record._FACTS", frozenset({"key", "rows"}))
    stored = keep(spool, encoded(ct_slice()))
    monkeypatch.undo()
    assert spool.series(STUDY)[0].instances == (stored.instance,)


def test_a_compressed_label_on_native_pixels_is_refused_when_they_are_cut(spool: Spool) -> None:
    with pytest.raises(NotUnderstood, match="truncated"):
        keep(spool, encoded(ct_slice())[:-2], syntax=JPEG2000)


def test_a_path_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"spool\.path"):
        Spool(tmp_path / "file", 0)


def test_stored_instances_say_nothing_of_where_they_were_parsed(spool: Spool) -> None:
    stored = keep(spool, encoded(ct_slice()))
    assert stored.path == spool.path / "incoming" / STUDY / SERIES / f"{SERIES}.1.dcm"
    assert replace(stored.instance, path=Path()) == replace(read_instance(stored.path), path=Path())
