"""Certificates made for one test, with openssl."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.peers import program


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


def authority(folder: Path, name: str = "authority") -> Certificate:
    """A certificate that signs others."""
    return _make(folder, name, ["-addext", "basicConstraints=critical,CA:TRUE"])


def issued(folder: Path, name: str, by: Certificate, options: Sequence[str] = (), *, dns: str = "") -> Certificate:
    """A certificate for 127.0.0.1 signed by ``by``; ``options`` are further ones of openssl."""
    alternative = "subjectAltName=IP:127.0.0.1" + (f",DNS:{dns}" if dns else "")
    extensions = ["-addext", "basicConstraints=CA:FALSE", "-addext", alternative]
    return _make(folder, name, [*extensions, "-CA", str(by.certificate), "-CAkey", str(by.key), *options])


def _make(folder: Path, name: str, options: list[str]) -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    output = ["-keyout", str(made.key), "-out", str(made.certificate)]
    command = [program("openssl", "openssl"), "req", "-x509", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*command, *curve, *output, *options], check=True, capture_output=True)
    return made
