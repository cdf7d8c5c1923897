"""What every test may use: the real scans, and the rule that on a CI machine a missing peer is a failure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pydicom.config
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def unavailable(reason: str) -> NoReturn:
    """Skip the test with ``reason`` on a laptop; fail it where CI=true: nothing goes untested in silence."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CT series: SBNODE_DATA, by default ../shared/data beside the repository."""
    folder = Path(os.environ.get("SBNODE_DATA") or REPOSITORY.parent / "shared" / "data").resolve()
    if not (folder / "siemens-headneck-contrast").is_dir():
        unavailable("the real CT series are not here: set SBNODE_DATA to their folder")
    return folder


@pytest.fixture(autouse=True)
def values_are_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started here as a process of a node leaves this one as it was."""
    settings = pydicom.config.settings
    monkeypatch.setattr(settings, "_reading_validation_mode", settings._reading_validation_mode)
