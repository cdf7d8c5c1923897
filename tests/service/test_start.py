"""What a start ends with when something is missing: what mends itself is no fault of the configuration."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import yaml

from sbnode.config import Config
from sbnode.errors import ConfigError, SbnodeError, SpoolError
from sbnode.service import process, receiving
from sbnode.spool import spool as spool_module
from sbnode.terminal import ExitCode
from tests.conftest import REPOSITORY, unavailable
from tests.integration.peers import program
from tests.test_cli import sbnode


def raises(code: int) -> Callable[..., NoReturn]:
    def call(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return call


CODES = pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.ENOSPC, SpoolError), (errno.EDQUOT, SpoolError), (errno.EACCES, ConfigError), (errno.EROFS, ConfigError)],
)


@CODES
def test_the_configuration_in_force_can_not_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[SbnodeError]
) -> None:
    monkeypatch.setattr(receiving, "signals", SimpleNamespace)
    monkeypatch.setattr(receiving, "JobClient", lambda *_: None)
    monkeypatch.setattr(receiving, "write", raises(code))
    with pytest.raises(expected, match=r"config\.yaml can't be written"):
        receiving.serve(Config(spool={"path": tmp_path}), None, with_worker=False)


@CODES
def test_the_spool_can_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[SbnodeError]
) -> None:
    monkeypatch.setattr(spool_module, "open_session", raises(code))
    with pytest.raises(expected, match=r"spool\.path"):
        process.open_spool(Config(spool={"path": tmp_path}))


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, ExitCode.FAILED), (errno.EACCES, ExitCode.CONFIGURATION)]
)
def test_the_command_ends_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: ExitCode) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("spool: {path: spool}\n")
    monkeypatch.setattr(Path, "mkdir", raises(code))
    ended, text = sbnode("serve", "--config", str(config))
    assert ended == expected
    assert os.strerror(code) in text


def test_a_device_without_a_free_byte(tmp_path: Path) -> None:
    """In a process of its own: what is mapped into memory ends it by SIGBUS there."""
    mounted = tmp_path / "device"
    mounted.mkdir()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"spool": {"path": str(mounted / "spool")}}))
    serve = f"exec {shlex.join([sys.executable, '-m', 'sbnode.cli', 'serve', '--config', str(config)])}"
    fill = f"mount -t tmpfs -o size=64k tmpfs {mounted} && head -c 65536 /dev/zero > {mounted}/filled"
    command = [program("unshare", "util-linux"), "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*command, fill], capture_output=True, check=False).returncode:
        unavailable("no file system can be mounted here")
    ended = subprocess.run(
        [*command, f"{fill} && {serve}"], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == ExitCode.FAILED, ended.stderr
    assert os.strerror(errno.ENOSPC) in ended.stderr
