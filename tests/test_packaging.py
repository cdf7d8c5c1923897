"""What is installed is what the locks, the package and the image say."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import audit_dependencies
from tests.conftest import REPOSITORY, unavailable

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


def test_the_package_holds_what_it_reads_beside_its_code() -> None:
    found = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {
        path
        for package, patterns in found.items()
        for pattern in patterns
        for path in (REPOSITORY / package.replace(".", "/")).glob(pattern)
    }
    files = {path for path in (REPOSITORY / "sbnode").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix != ".py"} == packed


def test_the_image_is_built_from_files_that_are_there() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _target = line.split()
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert f"!{source}" in allowed, f".dockerignore leaves out {source}"


def bill(text: str) -> dict[str, Any]:
    """The bill of materials of a lock file's text."""
    try:
        from scripts import sbom
    except ImportError as error:
        unavailable(f"{error.name} is not installed: make check")
    content: dict[str, Any] = json.loads(sbom.bill(list(sbom.locked(text))))
    return content


def test_the_bill_of_materials_is_complete() -> None:
    text = (REPOSITORY / "requirements" / "cpu.txt").read_text()
    content = bill(text)
    elsewhere = set(re.findall(r"^([a-z0-9-]+)==\S+ ; sys_platform == 'win32'", text, re.MULTILINE))
    components = {component["name"]: component for component in content["components"]}
    assert components.keys() == locked("cpu").keys() - elsewhere
    for name, component in components.items():
        assert component["version"] == locked("cpu")[name]
        assert component["licenses"]
        assert all(re.fullmatch("[0-9a-f]{64}", found["content"]) for found in component["hashes"])
        assert component["hashes"]
    needs = {node["ref"]: node.get("dependsOn", []) for node in content["dependencies"]}
    direct = {ref.partition("==")[0] for ref in needs["sbnode"]}
    assert {re.split(r"[\[<>=]", line)[0] for line in project()["dependencies"]} <= direct  # type: ignore[attr-defined]
    assert f"numpy=={locked('cpu')['numpy']}" in needs[f"scipy=={locked('cpu')['scipy']}"]


def test_the_same_lock_gives_the_same_bill_and_says_nothing_of_this_machine() -> None:
    text = (REPOSITORY / "requirements" / "cpu.txt").read_text()
    content = bill(text)
    assert bill(text) == content
    assert "timestamp" not in content["metadata"]
    assert str(Path.home()) not in json.dumps(content)
    changed = re.sub(r"(?<=^numpy==)\S+", "0.0.1", text, flags=re.MULTILINE)
    assert bill(changed)["serialNumber"] != content["serialNumber"]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("numpy==2.2.0", "numpy: the lock holds no hash"),
        (f"no-such-package==1.0 --hash=sha256:{'0' * 64}", "no-such-package isn't installed"),
    ],
)
def test_a_bill_with_a_gap_is_refused(block: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bill(block)


SOUND = {"name": "numpy", "version": "2.2.0", "vulns": []}
HOLED = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "scipy", "skip_reason": "not found"}


def pip_audit(folder: Path, packages: list[dict[str, object]] | None) -> str:
    """A stand-in that answers as pip-audit does: with JSON, or, without a network, with a traceback."""
    program = folder / "pip-audit"
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    end = "echo 'ConnectionError: no network' >&2; exit 1" if packages is None else "exit 0"
    program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{answer}\nEOF\n{end}\n")
    program.chmod(0o700)
    return str(program)


@pytest.mark.parametrize(
    ("packages", "loose", "strict", "said"),
    [
        ([SOUND], 0, 0, "1 packages looked up, 0 vulnerabilities"),
        ([SOUND, HOLED], 1, 1, "VULNERABLE pillow 1.0: CVE-2026-1, mended in 1.1"),
        ([SOUND, UNKNOWN], 0, 1, "NOT AUDITED: 1"),
        (None, 0, 1, "no network"),
    ],
)
def test_an_audit_says_what_it_did_not_see(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    packages: list[dict[str, object]] | None,
    loose: int,
    strict: int,
    said: str,
) -> None:
    program = pip_audit(tmp_path, packages)
    monkeypatch.delenv("AUDIT", raising=False)
    assert audit_dependencies.main(program) == loose
    assert said in "".join(capsys.readouterr())
    monkeypatch.setenv("AUDIT", "strict")
    assert audit_dependencies.main(program) == strict


# The image: what can be seen of it without building it.


def dockerfile() -> list[str]:
    """The instructions of the stage that becomes the image."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    return re.split(r"^FROM .*$", text, flags=re.MULTILINE)[-1].splitlines()


def test_the_image_runs_as_a_user_without_a_name_who_owns_the_spool_alone() -> None:
    lines = dockerfile()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    owned = re.findall(r"install -d -o 10001 -g 10001 -m 0750 (\S+)", "\n".join(lines))
    assert owned == ["/var/spool/sbnode"]
    assert 'VOLUME ["/var/spool/sbnode"]' in lines
    after = lines[lines.index("USER 10001:10001") :]
    assert not [line for line in after if line.startswith(("RUN ", "COPY ", "ADD "))]
    assert "chown" not in "\n".join(lines)


def test_nothing_secret_can_come_into_the_image() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    assert not re.search(r"(?im)^(ARG|ENV)\s.*(password|token|secret|_key\b)", text)
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    rules = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in rules  # all but what is named stays outside


LOCKED_DOWN = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "tmpfs": ["/tmp"]}


def test_the_manual_starts_a_container_that_may_do_little() -> None:
    manual = "".join((REPOSITORY / "docs" / name).read_text() for name in ("install.md", "deployment.md"))
    commands = [block for block in re.findall(r"```sh\n(.*?)```", manual, re.DOTALL) if "docker run" in block]
    (node,) = (command for command in commands if "--detach" in command)
    assert "--stop-timeout 40" in node
    assert len(commands) > 1
    for command in commands:
        for option in ("--read-only", "--tmpfs /tmp", "--cap-drop ALL", "--security-opt no-new-privileges"):
            assert option in command, option
        assert "--privileged" not in command
        assert "seccomp=unconfined" not in command
    (compose,) = re.findall(r"```yaml\n(services:.*?)```", manual, re.DOTALL)
    service = yaml.safe_load(compose)["services"]["sbnode"]
    assert {key: service[key] for key in LOCKED_DOWN} == LOCKED_DOWN
    assert not any("password" in str(entry).casefold() for entry in service.get("environment", ()))
    assert all(":ro" in volume for volume in service["volumes"] if volume.startswith("."))
