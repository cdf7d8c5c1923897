"""What the node runs on, as Linux tells it in ``/proc`` and ``/sys``. Where it doesn't, a fact is None."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sbnode.doctor.observation import Observation, fail, ok, warn
from sbnode.doctor.proc import fields, size_bytes

__all__ = ["NEEDED_BYTES", "OPEN_FILES", "Machine", "examine_machine", "read_machine"]

NEEDED_BYTES = 4_000_000_000
"""Memory that one study takes in both processes, rounded up: benchmarks/results/sizing.md."""
OPEN_FILES = 1024
"""Descriptors that the receiving process may have open, at least: 100 silent connections, those of
``receive.max_associations``, a file for each, and those of libraries and database.
"""
_STA_UNSYNC = 0x0040
"""Of ``struct timex``, adjtimex(2): nobody keeps the clock in step."""
_TIMEX_BYTES = 208


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts, in bytes and seconds."""

    system: str
    distribution: str | None
    python: str
    processor: str | None
    cores: int
    usable_cores: int
    memory_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None
    """Of the control group: a container's. None: no limit."""
    container: str | None
    open_files: tuple[int, int]
    """Soft and hard limit of this process."""
    user: int
    time_zone: str
    utc: str
    clock_synchronised: bool | None
    temporary_folder: str | None
    """None: there is none that can be written."""


def read_machine(root: Path = Path("/")) -> Machine:
    """Read the facts; ``root`` is where ``proc``, ``sys`` and ``etc`` lie."""
    memory = dict(_fields(root / "proc/meminfo"))
    return Machine(
        system=platform.platform(),
        distribution=_distribution(root),
        python=platform.python_version(),
        processor=next((value for key, value in _fields(root / "proc/cpuinfo") if key == "model name"), None),
        cores=os.cpu_count() or 1,
        usable_cores=len(os.sched_getaffinity(0)),
        memory_bytes=size_bytes(memory.get("MemTotal")),
        available_bytes=size_bytes(memory.get("MemAvailable")),
        limit_bytes=_memory_limit(root),
        container=_container(root),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
        user=os.geteuid(),
        time_zone=time.strftime("%Z %z"),
        utc=datetime.now(UTC).isoformat(timespec="seconds"),
        clock_synchronised=_clock_synchronised(),
        temporary_folder=_temporary_folder(),
    )


def examine_machine(machine: Machine) -> Iterator[Observation]:
    """Say what of the machine is in the way of the node."""
    yield _memory(machine)
    soft, hard = machine.open_files
    if soft < OPEN_FILES:
        yield warn(
            "open files",
            f"a process may have {soft} open, of {hard} that could be allowed",
            f"allow {OPEN_FILES}: LimitNOFILE= of systemd, --ulimit nofile= of a container, ulimit -n of a shell",
        )
    else:
        yield ok("open files", f"a process may have {soft} open")
    if machine.clock_synchronised is False:
        yield warn(
            "clock",
            "nothing keeps it in step with others",
            "start a time service (systemd-timesyncd, chrony): times in results, audit trail and certificates need it",
        )
    else:
        told = {True: "kept in step by a time service", None: "whether it is kept in step can't be seen here"}
        yield ok("clock", f"{machine.utc}, {machine.time_zone}; {told[machine.clock_synchronised]}")
    if machine.temporary_folder is None:
        yield fail(
            "temporary folder",
            "none can be written",
            "with a read-only root give the node a /tmp: --tmpfs /tmp of a container, PrivateTmp= of systemd",
        )
    else:
        yield ok("temporary folder", machine.temporary_folder)


def _memory(machine: Machine) -> Observation:
    known = [size for size in (machine.memory_bytes, machine.limit_bytes) if size is not None]
    if not known:
        return ok("memory", "how much there is can't be seen here")
    seen = f"{min(known) / 1e9:.1f} GB" + (
        " by the limit of the container" if min(known) != machine.memory_bytes else ""
    )
    if min(known) < NEEDED_BYTES:
        return warn(
            "memory",
            seen,
            f"a study may need {NEEDED_BYTES / 1e9:.0f} GB; with less, the worker is killed in the middle of a job and "
            "tries again, twice: give it more, or raise the limit",
        )
    return ok("memory", seen)


def _fields(path: Path) -> Sequence[tuple[str, str]]:
    with suppress(OSError):
        return fields(path)
    return ()


def _distribution(root: Path) -> str | None:
    with suppress(OSError):
        for line in (root / "etc/os-release").read_text(encoding="utf-8").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
    return None


def _memory_limit(root: Path) -> int | None:
    """Version 2 of control groups, then version 1; in a container its own group lies at the root of the mount."""
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int((root / name).read_text(encoding="ascii"))
            # "No limit" of version 1 is the largest number of pages.
            return limit if limit < 2**60 else None
    return None


def _container(root: Path) -> str | None:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    for name, mark in (("docker", ".dockerenv"), ("podman", "run/.containerenv")):
        if (root / mark).exists():
            return name
    with suppress(OSError):
        return (root / "run/systemd/container").read_text(encoding="utf-8").strip() or None
    return None


def _clock_synchronised() -> bool | None:
    """Ask the kernel, which a time service tells; None where it may not be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (AttributeError, OSError):
        return None
    state = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: only ask
    if adjtimex(state) < 0:
        return None
    # int modes; long offset, freq, maxerror, esterror; int status
    status = int.from_bytes(state.raw[40:44], "little")
    return not status & _STA_UNSYNC


def _temporary_folder() -> str | None:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"sbnode")
        return tempfile.gettempdir()
    except OSError:
        return None
