"""The processes of a node that runs on this spool, as ``/proc`` shows them to the node's own user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sbnode.config import Config
from sbnode.doctor.observation import Observation, ok, warn
from sbnode.doctor.proc import fields, size_bytes
from sbnode.service.receiving import IN_FORCE

__all__ = ["NodeProcess", "examine_processes", "find_processes"]

_MUCH = 0.8
"""Of the descriptors that a process may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProcess:
    """One process; memory in bytes, None where it may not be read."""

    role: Literal["receiving", "worker"]
    pid: int
    resident_bytes: int | None
    peak_bytes: int | None
    threads: int | None
    open_files: int | None
    open_files_limit: int | None


def find_processes(config: Config, proc: Path = Path("/proc")) -> tuple[NodeProcess, ...]:
    """Return the worker that `sbnode serve` started on this spool, and its parent: the one that receives.

    The worker is known by the configuration that it was given, which lies in the spool.
    """
    given = os.fsencode(config.spool.path.resolve() / IN_FORCE)
    found: list[NodeProcess] = []
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            if given in arguments and b"work" in arguments and b"--adopt" not in arguments:
                parent = int(dict(fields(folder / "status")).get("PPid", "0"))
                if parent > 1 or (parent == 1 and b"serve" in (proc / "1/cmdline").read_bytes().split(b"\0")):
                    found.append(_read("receiving", proc / str(parent)))
                found.append(_read("worker", folder))
    return tuple(sorted(found, key=lambda process: process.pid))


def examine_processes(processes: tuple[NodeProcess, ...]) -> Iterator[Observation]:
    """Say which of them comes near its limits."""
    for process in processes:
        name = f"{process.role} process"
        used, limit = process.open_files, process.open_files_limit
        if used is not None and limit is not None and used > _MUCH * limit:
            yield warn(
                name,
                f"it has {used} files and connections open, of {limit} that it may have",
                "raise LimitNOFILE= of systemd, or --ulimit nofile= of the container; look who opens so many",
            )
        elif process.peak_bytes is not None:
            yield ok(name, f"{process.peak_bytes / 1e9:.1f} GB of memory at most so far")


def _read(role: Literal["receiving", "worker"], folder: Path) -> NodeProcess:
    status = dict(fields(folder / "status"))
    open_files = limit = None
    with suppress(OSError):
        open_files = sum(1 for _ in (folder / "fd").iterdir())
        limit = _limit((folder / "limits").read_text(encoding="ascii"))
    return NodeProcess(
        role=role,
        pid=int(folder.name),
        resident_bytes=size_bytes(status.get("VmRSS")),
        peak_bytes=size_bytes(status.get("VmHWM")),
        threads=int(status["Threads"]) if "Threads" in status else None,
        open_files=open_files,
        open_files_limit=limit,
    )


def _limit(limits: str) -> int | None:
    for line in limits.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else None
    return None
