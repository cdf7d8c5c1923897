"""Everything that is looked at, one thing after the other, and the facts that were found on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sbnode.config import Config
from sbnode.doctor.backlog import Backlog, examine_backlog, read_backlog
from sbnode.doctor.disk import Disk, examine_disk, read_disk
from sbnode.doctor.installation import Installation, read_installation
from sbnode.doctor.machine import Machine, examine_machine, read_machine
from sbnode.doctor.node import RunningNode, ask_node, examine_node
from sbnode.doctor.observation import Observation, fail, ok, warn
from sbnode.doctor.processes import NodeProcess, examine_processes, find_processes
from sbnode.errors import ConfigError, QueueUnavailable, SpoolError
from sbnode.service.certificates import shown
from sbnode.service.check import check
from sbnode.tls import not_after_s

__all__ = ["Examination", "examine"]

SOON_S = 30 * 86400.0
"""A certificate that ends within this time is to be renewed."""
_AS_ITS_USER = "look again as the node's user: sudo -u '#{}' sbnode doctor ..."
_WRITTEN_BY_ROOT = "run the node as a user of its own, and give the spool with all that is in it to that user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found."""

    config: Config
    observations: tuple[Observation, ...]
    machine: Machine
    installation: Installation
    disk: Disk | None
    node: RunningNode | None
    processes: tuple[NodeProcess, ...]
    backlog: Backlog | None
    certificates: dict[str, str]
    """End of each, in ISO 8601, by who is shown it."""


def examine(config: Config, tell: Callable[[Observation], None] = lambda observation: None) -> Examination:
    """Look at machine, spool, node, queue and what the node calls; ``tell`` hears of each observation at once.

    Sends C-ECHO and QIDO-RS to what is configured. Nothing is changed, and a spool that isn't there isn't made.
    """
    observations: list[Observation] = []

    def note(found: Iterator[Observation]) -> None:
        for observation in found:
            observations.append(observation)
            tell(observation)

    machine = read_machine()
    note(examine_machine(machine))
    disk = _disk(config, note)
    usable = disk is not None and disk.owner == os.geteuid()
    node = ask_node(config)
    note(examine_node(config, node))
    processes = find_processes(config)
    note(examine_processes(processes))
    installation = read_installation(config)
    note(iter([ok("ONNX Runtime", f"has {', '.join(installation.providers)}")]))
    note(_checks(config, spool=usable, running=node is not None))
    backlog = _backlog(config, note) if usable else None
    ends = dict(_ends(config))
    note(_certificates(ends))
    note(_audit(config))
    return Examination(
        config=config,
        observations=tuple(observations),
        machine=machine,
        installation=installation,
        disk=disk,
        node=node,
        processes=processes,
        backlog=backlog,
        certificates={name: _iso(end) if isinstance(end, float) else end for name, end in ends.items()},
    )


def _disk(config: Config, note: Callable[[Iterator[Observation]], None]) -> Disk | None:
    path = config.spool.path
    try:
        disk = read_disk(path)
    except OSError as error:
        note(iter([fail("spool", f"{path}: {error.strerror}", "mend spool.path", is_configuration=True)]))
        return None
    if disk is None:
        note(iter([warn("spool", f"{path} isn't there", "the first start makes it; or mend spool.path")]))
        return None
    note(examine_disk(config, disk))
    if disk.owner != os.geteuid():
        # What another user writes there, the node could not open any more.
        seen = f"it belongs to user {disk.owner}, and you are {os.geteuid()}: spool and queue were not opened"
        note(iter([warn("spool", seen, _WRITTEN_BY_ROOT if disk.owner == 0 else _AS_ITS_USER.format(disk.owner))]))
    return disk


def _checks(config: Config, *, spool: bool, running: bool) -> Iterator[Observation]:
    for item in check(config, spool=spool, ports=not running):
        if item.fault is None:
            yield ok(item.name)
        else:
            remedy = "" if item.is_configuration else "look at it with its own tools; what is for it waits in its queue"
            yield fail(item.name, item.fault, remedy, is_configuration=item.is_configuration)


def _backlog(config: Config, note: Callable[[Iterator[Observation]], None]) -> Backlog | None:
    try:
        backlog = read_backlog(config)
    except (ConfigError, QueueUnavailable, SpoolError):
        return None  # the checks have said it
    note(examine_backlog(backlog))
    return backlog


def _ends(config: Config) -> Iterator[tuple[str, float | str]]:
    """Yield each certificate's end in seconds since 1970, or what is wrong with its file."""
    files: list[tuple[str, Path]] = [*shown(config)]
    if config.node.tls is not None:
        files.append(("node", config.node.tls.certificate))
        files += [("node.ca", config.node.tls.ca)] if config.node.tls.ca is not None else []
    for name, path in files:
        try:
            yield name, not_after_s(path)
        except (OSError, ValueError) as error:
            yield name, (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _certificates(ends: dict[str, float | str]) -> Iterator[Observation]:
    for name, end in ends.items():
        title = f"certificate of {name}"
        if isinstance(end, str):
            yield fail(title, end, "mend the path or the file", is_configuration=True)
        elif end < time.time():
            yield fail(title, f"it ended at {_iso(end)}", "renew it: the node takes up the new file by itself")
        elif end < time.time() + SOON_S:
            yield warn(title, f"it ends at {_iso(end)}", "renew it: the node takes up the new file by itself")
        else:
            yield ok(title, f"until {_iso(end)}")


def _audit(config: Config) -> Iterator[Observation]:
    path = config.audit.path
    if path is None:
        return
    place = path if path.exists() else path.parent
    if os.access(place, os.W_OK):
        yield ok("audit.path")
    else:
        yield fail(
            "audit.path",
            f"{place} can't be written by user {os.geteuid()}",
            "let the node's user write there; until then no record is kept",
            is_configuration=True,
        )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
