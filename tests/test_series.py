"""UIDs that may name a file, and the header facts of an instance."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sbnode.series import Series, SeriesKey, instance_of, is_uid, read_instance
from simulator.dicom import axial_stack, write_series
from tests.scp.instances import ct_slice


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    hu = np.full((3, 16, 20), -1000, np.int16)
    return write_series(hu, axial_stack((3, 16, 20), (1.0, 0.5, 0.6)), tmp_path / "series")


@pytest.mark.parametrize("value", ["1.2.840.10008.1.2", "2.25.0123", "1", "1." + "2" * 62])
def test_uids_are_taken(value: str) -> None:
    assert is_uid(value)


@pytest.mark.parametrize(
    "value", ["", "../1.2", "1.2/3", "1..2", ".1", "1.", "1.2\n", "1.2 ", "1.2\x00", "a.b", "1." + "2" * 63, "١.٢"]
)
def test_what_could_leave_the_folder_is_no_uid(value: str) -> None:
    assert not is_uid(value)


def test_header_facts_are_read(paths: list[Path]) -> None:
    instance = read_instance(paths[0])
    assert instance.modality == "CT"
    assert instance.pixel_spacing_mm == (0.5, 0.6)
    assert (instance.rows, instance.columns) == (16, 20)
    assert instance.orientation == (1, 0, 0, 0, 1, 0)
    assert instance.position_mm is not None


def test_facts_that_are_missing_or_broken_are_none(paths: list[Path]) -> None:
    dataset = pydicom.dcmread(paths[0])
    del dataset.ImagePositionPatient
    del dataset.SliceThickness
    dataset.PixelSpacing = [0.5]
    dataset.save_as(paths[0])
    instance = read_instance(paths[0])
    assert instance.position_mm is None
    assert instance.slice_thickness_mm is None
    assert instance.pixel_spacing_mm is None


def test_what_is_not_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"note\.txt"):
        read_instance(tmp_path / "note.txt")


def test_a_damaged_file_is_refused_and_not_more(paths: list[Path]) -> None:
    content = paths[0].read_bytes()
    damage = np.random.default_rng(8)
    for _ in range(300):
        changed = bytearray(content[: damage.integers(140, 1200)])
        changed[damage.integers(132, len(changed))] = damage.integers(256)
        paths[0].write_bytes(changed)
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore")
            read_instance(paths[0])


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")
def test_a_uid_that_is_a_path_is_refused(paths: list[Path]) -> None:
    dataset = pydicom.dcmread(paths[0])
    dataset.SeriesInstanceUID = "../../etc"
    dataset.save_as(paths[0])
    with pytest.raises(ValueError, match="SeriesInstanceUID"):
        read_instance(paths[0])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("keyword", "written"),
    [
        ("SeriesDescription", b" Head  H60s "),
        ("SeriesDescription", b"Head\\Neck "),
        ("SeriesDescription", "Schädel ".encode("latin-1")),
        ("SeriesDescription", b"\x1b(JHead"),
        ("SeriesDescription", b""),
        ("ConvolutionKernel", b"H60s\0"),
        ("BodyPartExamined", b"HEAD \0"),
        ("ImageType", b"ORIGINAL\\PRIMARY "),
        ("ImageType", b"ORIGINAL"),
        ("InstanceNumber", b" 12 "),
        ("InstanceNumber", b"+12 "),
        ("InstanceNumber", b"12\\13 "),
        ("InstanceNumber", b"twelve"),
        ("SeriesNumber", b"\0\0"),
        ("NumberOfFrames", b"0 "),
        ("PixelSpacing", b" 0.5\\0.5 "),
        ("PixelSpacing", b"0.5\\ "),
        ("PixelSpacing", b"0.5\\half"),
        ("PixelSpacing", b"0.5\0\\0.5"),
        ("PixelSpacing", b"0.5\\ \\0.5"),
        ("ImagePositionPatient", b"1e1\\-2\\+3.25"),
        ("ImagePositionPatient", b"-12.345678901234567\\0\\0"),
        ("SliceThickness", b"1,5 "),
        ("FrameOfReferenceUID", b"1.2.3\0"),
        ("FrameOfReferenceUID", b"1.2.3 "),
        ("FrameOfReferenceUID", b"1.2\\1.3"),
        ("Modality", b"CT"),
    ],
)
def test_what_is_read_from_the_bytes_is_what_pydicom_decodes(keyword: str, written: bytes, implicit: bool) -> None:
    def header() -> Dataset:
        dataset = ct_slice()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        for one in ("ImageType", "ConvolutionKernel", "BodyPartExamined", "InstanceNumber", keyword):
            dataset.pop(one, None)
        tag = Tag(keyword)
        vr = None if implicit else dictionary_VR(tag)
        dataset._dict[tag] = RawDataElement(tag, vr, len(written), written, 0, implicit, True)
        return dataset

    raw, decoded = header(), header()
    with contextlib.suppress(ValueError):
        decoded[keyword].value  # noqa: B018 - decodes it
    assert instance_of(raw, Path()) == instance_of(decoded, Path())


def test_the_digest_changes_with_a_slice_and_not_with_the_order(paths: list[Path]) -> None:
    instances = [read_instance(path) for path in paths]
    key = SeriesKey("1", "2")
    assert Series.of(key, instances).digest == Series.of(key, [*instances[::-1], instances[0]]).digest
    assert Series.of(key, instances).digest != Series.of(key, instances[:2]).digest
