"""The table of faults in docs/operations.md names tests that there are."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY

NAMED = re.compile(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`")


def test_every_fault_of_the_table_has_its_test() -> None:
    found = NAMED.findall((REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8"))
    assert len(found) > 20
    missing = [
        f"{file}::{name}" for file, name in found if f"def {name}(" not in (REPOSITORY / file).read_text("utf-8")
    ]
    assert missing == []
