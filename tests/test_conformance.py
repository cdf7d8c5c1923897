"""`docs/dicom-conformance.md` says what the code does."""

from __future__ import annotations

import re

import pytest

from sbnode import IMPLEMENTATION_CLASS_UID
from sbnode.scp.presentation import SOP_CLASSES, decodable_transfer_syntaxes
from sbnode.scu.probe import OBJECT_CLASSES
from tests.conftest import REPOSITORY

VERIFICATION = "1.2.840.10008.1.1"
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
    assert set(uids(section("### 4.2"), r".*\.(5\.1\.4|1\.1$)")) == {VERIFICATION, *map(str, SOP_CLASSES)}


def test_the_accepted_transfer_syntaxes_are_those_of_the_code_in_its_order() -> None:
    assert uids(section("### 4.2"), r"1\.2\.840\.10008\.1\.2") == [str(uid) for uid in decodable_transfer_syntaxes()]


def test_the_sent_classes_are_those_of_the_code() -> None:
    assert set(uids(section("### 4.3"), ".*")) == {VERIFICATION, *map(str, OBJECT_CLASSES.values())}


def test_the_implementation_class_uid_is_that_of_the_code() -> None:
    assert IMPLEMENTATION_CLASS_UID in section("### 4.2")


def test_every_private_code_is_listed_with_its_meaning() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "sbnode").rglob("*.py"))
    codes = set(re.findall(r'Code\(\s*"(SBN-[A-Z]+)", CODING_SCHEME, "([^"]+)"', source))
    listed = set(re.findall(r"^\| (SBN-[A-Z]+) \| ([^|]+) \|$", section("### 8.2"), re.MULTILINE))
    assert codes == listed


@pytest.mark.parametrize("step", ["SEG | 0", "SEG | 2000", "M3D | 1000", "SR | 3000", "OT | 4000"])
def test_the_steps_of_the_series_number_are_listed(step: str) -> None:
    from sbnode.results.capture import CAPTURE_SERIES_STEP
    from sbnode.results.encapsulated import STL_SERIES_STEP
    from sbnode.results.segmentation import FINE_SERIES_STEP
    from sbnode.results.structured_report import REPORT_SERIES_STEP

    assert f"| {step} |" in section("### 8.1")
    assert int(step.split("| ")[1]) in {
        *(0, FINE_SERIES_STEP, STL_SERIES_STEP),
        *(REPORT_SERIES_STEP, CAPTURE_SERIES_STEP),
    }
