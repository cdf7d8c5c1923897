"""What a start ends with when something is missing: what mends itself is no fault of the configuration."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from sbnode.config import Config
from sbnode.errors import ConfigError, SbnodeError, SpoolError
from sbnode.service import process, receiving
from sbnode.spool import spool as spool_module
from sbnode.terminal import ExitCode
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
