"""No library of the node reports to its makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

OPEN = """
import onnxruntime
onnxruntime.InferenceSession("models/region/model.onnx", providers=["CPUExecutionProvider"])
"""


def left_behind(home: Path, code: str) -> list[str]:
    """The files that ``code`` leaves in an empty home folder, on a machine that isn't known as one for tests."""
    told = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "GITHUB_ACTIONS")
    environment = {key: value for key, value in os.environ.items() if key not in told}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=True)
    return [path.name for path in home.rglob("*") if path.is_file()]


def test_onnx_runtime_gathers_nothing(tmp_path: Path) -> None:
    assert left_behind(tmp_path, "import sbnode" + OPEN) == []


def test_onnx_runtime_would_gather_otherwise(tmp_path: Path) -> None:
    if not left_behind(tmp_path, OPEN):
        pytest.skip("this build of ONNX Runtime gathers nothing: the test above shows nothing here")
