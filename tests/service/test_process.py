"""What the processes of a node share."""

from __future__ import annotations

import pydicom.config
import pytest
from pydicom.uid import UID

from sbnode.service.process import leave_values_unjudged


def test_values_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "_reading_validation_mode", pydicom.config.WARN)
    with pytest.warns(UserWarning, match="Invalid value"):
        UID("of no form")
    leave_values_unjudged()
    assert UID("of no form") == "of no form"  # a warning would be an error here
