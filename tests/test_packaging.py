"""What is installed is what the locks, the package and the image say."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.conftest import REPOSITORY

EXTRAS = {"cpu": "onnxruntime", "openvino": "onnxruntime-openvino", "gpu": "onnxruntime-gpu"}


def locked(name: str) -> dict[str, str]:
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def project() -> dict[str, object]:
    return dict(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"])


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_lock_holds_everything_that_the_package_needs_and_one_onnx_runtime(extra: str) -> None:
    needed = {re.split(r"[\[<>=]", line)[0] for line in project()["dependencies"]}  # type: ignore[attr-defined]
    versions = locked(extra)
    assert needed <= versions.keys()
    assert [name for name in versions if name in EXTRAS.values()] == [EXTRAS[extra]]


def test_the_builds_differ_in_onnx_runtime_and_what_it_brings_alone() -> None:
    cpu = locked("cpu")
    for extra in ("openvino", "gpu", "dev"):
        differ = {name for name, version in locked(extra).items() if cpu.get(name, version) != version}
        assert differ == set()


def test_the_image_is_built_from_files_that_are_there() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _target = line.split()
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert f"!{source}" in allowed, f".dockerignore leaves out {source}"
