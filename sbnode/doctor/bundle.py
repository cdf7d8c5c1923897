"""The facts as one file, for whoever helps: no patient data, no secret, nothing that names a person."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sbnode.config import Config
from sbnode.doctor.examination import Examination
from sbnode.doctor.installation import read_installation
from sbnode.doctor.machine import read_machine
from sbnode.doctor.observation import Observation
from sbnode.doctor.privacy import public_configuration, public_records, public_text
from sbnode.errors import ConfigError

__all__ = ["write_bundle", "write_machine_bundle"]

ABOUT = """A support bundle of sbnode, made by `sbnode doctor`.

observations.txt     what was looked at, and what to do
machine.json         system, memory, limits, clock; spool.json: the device of the spool
installation.json    versions of sbnode and packages, execution providers, models
configuration.json   the configuration in plain values
node.json            processes and readiness of the running node; metrics.txt: what /metrics answered
queue.json           how much waits, dead letters with their reasons
certificates.json    when each ends
log.jsonl            the last records of the log that was named, if one was

Hosts, ports, AE titles and paths are in it. Left out are all images and what names a patient; contents of files with
keys, passwords and tokens; user names, mail addresses, texts of notices; of URLs all but scheme, host and port;
conditions of rules on anything but the scan. DICOM UIDs are short hashes, the user's own folder is ~.
"""


def write_machine_bundle(target: Path) -> None:
    """Write what can be said where the configuration has a fault: of machine and packages alone.

    The faults stay out, for they quote the configuration: `sbnode check` says them.

    Raises:
        ConfigError: ``target`` can't be written.
    """
    files = {
        "about.txt": ABOUT + "\nThe configuration has a fault, so nothing else was looked at.\n",
        "machine.json": _json(read_machine()),
        "installation.json": _json(read_installation(Config())),
    }
    _pack(files, target)


def write_bundle(found: Examination, target: Path, log_file: Path | None = None, log_lines: int = 1000) -> None:
    """Write what was found to ``target``, a .tar.gz that only this user may read.

    Args:
        found: what goes in.
        target: written anew.
        log_file: with the node's log; the records of sbnode among its last lines are kept.
        log_lines: how many of its last lines are looked at.

    Raises:
        ConfigError: a file can't be read or written.
    """
    files = _files(found)
    if log_file is not None:
        records, left_out = public_records(_tail(log_file, log_lines))
        files["log.jsonl"] = "".join(f"{record}\n" for record in records)
        files["about.txt"] += f"\n{left_out} lines of the log were no records of sbnode and are left out.\n"
    _pack(files, target)


def _pack(files: Mapping[str, str], target: Path) -> None:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as output, tarfile.open(fileobj=output, mode="w:gz") as packed:
            for name, content in files.items():
                _add(packed, f"sbnode-doctor/{name}", public_text(content).encode())
    except OSError as error:
        raise ConfigError(f"--out {target}: it can't be written ({error.strerror})") from error


def _files(found: Examination) -> dict[str, str]:
    node = found.node
    return {
        "about.txt": ABOUT,
        "observations.txt": "".join(f"{_line(observation)}\n" for observation in found.observations),
        "machine.json": _json(found.machine),
        "spool.json": _json(found.disk),
        "installation.json": _json(found.installation),
        "configuration.json": _json(public_configuration(found.config)),
        "node.json": _json({"checks": node and node.checks, "processes": [asdict(one) for one in found.processes]}),
        "metrics.txt": node.metrics if node is not None else "",
        "queue.json": _json(found.backlog),
        "certificates.json": _json(found.certificates),
    }


def _line(observation: Observation) -> str:
    seen = f": {observation.seen}" if observation.seen else ""
    return f"{observation.level:<5}{observation.name}{seen}" + (
        f"\n     -> {observation.remedy}" if observation.remedy else ""
    )


def _json(facts: Any) -> str:
    content: Any = asdict(facts) if is_dataclass(facts) and not isinstance(facts, type) else facts
    return json.dumps(content, indent=1, default=_plain) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a bundle")


def _tail(path: Path, lines: int) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, lines)]
    except OSError as error:
        raise ConfigError(f"--log {path}: it can't be read ({error.strerror})") from error


def _add(packed: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
    packed.addfile(entry, io.BytesIO(content))
