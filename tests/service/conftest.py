"""What starts here as a process of a node leaves this one as it was."""

from __future__ import annotations

import pydicom.config
import pytest


@pytest.fixture(autouse=True)
def values_are_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = pydicom.config.settings
    monkeypatch.setattr(settings, "_reading_validation_mode", settings._reading_validation_mode)
