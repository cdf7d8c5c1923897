"""`docs/dicom-conformance.md` says what the code does."""

from __future__ import annotations

import re

from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from sbnode import IMPLEMENTATION_CLASS_UID
from sbnode.results.capture import CAPTURE_SERIES_STEP
from sbnode.results.encapsulated import STL_SERIES_STEP
from sbnode.results.segmentation import FINE_SERIES_STEP, LABEL_MAP_SERIES_STEP
from sbnode.results.structured_report import REPORT_SERIES_STEP
from sbnode.scp.presentation import SOP_CLASSES, decodable_transfer_syntaxes
from sbnode.scu.echo import SYNTAXES
from sbnode.scu.probe import OBJECT_CLASSES
from tests.conftest import REPOSITORY

VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = str(StorageCommitmentPushModel)
TEXT = (REPOSITORY / "docs" / "dicom-conformance.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text from a heading to the next of the same depth."""
    depth = len(title) - len(title.lstrip("#"))
    found = re.search(rf"^{re.escape(title)}.*?(?=^#{{1,{depth}}} |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found.group(0)


def uids(text: str, pattern: str) -> list[str]:
    return [uid for uid in re.findall(r"^\|[^|\n]+\| ([0-9.]+) \|", text, re.MULTILINE) if re.match(pattern, uid)]


def test_the_accepted_classes_are_those_of_the_code() -> None:
    assert set(uids(section("### 4.2"), r".*\.(5\.1\.4|1\.1$|1\.20\.1$)")) == {
        VERIFICATION,
        COMMITMENT,
        *map(str, SOP_CLASSES),
    }


def test_the_accepted_transfer_syntaxes_are_those_of_the_code_in_its_order() -> None:
    assert uids(section("### 4.2"), r"1\.2\.840\.10008\.1\.2(\.|$)") == [
        str(uid) for uid in decodable_transfer_syntaxes()
    ]


def test_the_sent_classes_are_those_of_the_code() -> None:
    assert set(uids(section("### 4.3"), ".*")) == {
        VERIFICATION,
        COMMITMENT,
        str(StudyRootQueryRetrieveInformationModelFind),
        str(StudyRootQueryRetrieveInformationModelMove),
        *map(str, OBJECT_CLASSES.values()),
    }


def test_the_implementation_class_uid_is_that_of_the_code() -> None:
    assert IMPLEMENTATION_CLASS_UID in section("### 4.2")


def test_every_private_code_is_listed_with_its_meaning() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "sbnode").rglob("*.py"))
    codes = set(re.findall(r'Code\(\s*"(SBN-[A-Z]+)", CODING_SCHEME, "([^"]+)"', source))
    listed = set(re.findall(r"^\| (SBN-[A-Z]+) \| ([^|]+) \|$", section("### 8.2"), re.MULTILINE))
    assert codes == listed


def test_the_steps_of_the_series_number_are_listed() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([A-Z0-9]+) \| (\d+) \|", section("### 8.1"), re.MULTILINE)
    assert {name: (modality, int(step)) for name, modality, step in rows} == {
        "Segmentation": ("SEG", 0),
        "Fine segmentation (optional)": ("SEG", FINE_SERIES_STEP),
        "Label map (optional)": ("SEG", LABEL_MAP_SERIES_STEP),
        "Encapsulated STL": ("M3D", STL_SERIES_STEP),
        "Comprehensive 3D SR": ("SR", REPORT_SERIES_STEP),
        "Secondary Capture": ("OT", CAPTURE_SERIES_STEP),
    }


def test_what_c_echo_proposes_is_listed() -> None:
    (proposed,) = re.findall(r"^\| Verification \|[^|]+\| SCU \| ([^|]+) \|", section("### 4.3"), re.MULTILINE)
    assert proposed.split(", ") == [syntax.name for syntax in SYNTAXES]
