"""Counters that several processes share, through files in the folder that ``PROMETHEUS_MULTIPROC_DIR`` names.

Each process writes files of its own. Prometheus' client names them by process id, which another container or a later
process may have too; here each name is unique, and a lock that the kernel frees with the process says whether its owner
still lives. What the dead have counted is added up in one file, so that a worker that dies again and again leaves no
file behind and takes nothing from a counter. On a full device the files of the dead are left as they are.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

from prometheus_client import CollectorRegistry, Metric, values
from prometheus_client.registry import Collector

from sbnode.metrics.files import UNREADABLE, CounterFile, Unkept, kept_in, read, set_aside
from sbnode.metrics.sums import Sums

__all__ = ["SharedCounters", "add_up_dead_processes", "folder", "forget_dead_processes"]

_DEAD = "dead"
"""In place of a process: what those that have ended counted."""
_adding_up = Lock()
_unkept = Unkept()


def folder() -> Path | None:
    """Return where the counters are shared; None where they are those of this process alone."""
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(named) if named else None


def _identify(shared: Path) -> str:
    """Take a name for the files of this process, and the lock that says that it lives; kept until the process ends."""
    name = f"{os.getpid()}-{secrets.token_hex(6)}"
    unlocked = shared / f"{name}.taken"
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unlocked.rename(shared / f"{name}.lock")
    return name


def _share() -> None:
    shared = folder()
    if shared is None:
        return
    try:
        values.ValueClass = kept_in(shared, _identify(shared), _unkept)
    except OSError as error:
        # Nothing of the node depends on its counters: this process keeps its own to itself.
        _unkept.say(error)
        values.ValueClass = values.MutexValue


_share()  # before the first counter is made


class SharedCounters(Collector):
    """What all processes counted, those that have ended included. For the one process that is asked for it."""

    def __init__(self, shared: Path) -> None:
        self._shared = shared
        self._sums = Sums()

    def collect(self) -> Iterable[Metric]:
        """Return the sum of each metric."""
        with _adding_up:
            _add_up(self._shared)
            return tuple(self._sums.families(sorted(self._shared.glob("*.db"))))


def registry(counted: Iterable[Collector], states: Collector | None) -> CollectorRegistry:
    """Return a registry over the counters of all processes that share them, or else of this one, and the states."""
    collectors = CollectorRegistry()
    shared = folder()
    for collector in counted if shared is None else (SharedCounters(shared),):
        collectors.register(collector)
    if states is not None:
        collectors.register(states)
    return collectors


def forget_dead_processes() -> None:
    """Remove what processes that have ended counted; as with any restart, Prometheus sees counters that begin anew."""
    shared = folder()
    if shared is not None:
        with _adding_up:
            _remove(shared, [*_dead_files(shared), *shared.glob(f"*_{_DEAD}.db"), *shared.glob(f"*{UNREADABLE}")])


def add_up_dead_processes() -> None:
    """Put what processes that have ended counted into one file. Only who is asked for the sums does this."""
    shared = folder()
    if shared is not None:
        with _adding_up:
            _add_up(shared)


def _add_up(shared: Path) -> None:
    dead = _dead_files(shared)
    for kind in ("counter", "histogram"):
        files = [path for path in dead if path.name.startswith(f"{kind}_")]
        if files:
            try:
                _add_to(shared / f"{kind}_{_DEAD}.db", files)
            except OSError as error:
                _unkept.say(error)
                dead = [path for path in dead if path not in files]
    _remove(shared, dead)


def _add_to(target: Path, files: list[Path]) -> None:
    """Add what stands in ``files`` to ``target``: all of it, or with an ``OSError`` nothing."""
    added: dict[str, float] = {}
    for path in [target, *files] if target.exists() else files:
        for key, number in _readable(path):
            added[key] = added.get(key, 0.0) + number
    sums = CounterFile(target)
    try:
        sums.make_room(added)
        for key, number in added.items():
            sums.write_value(key, number, 0.0)  # type: ignore[no-untyped-call]
    finally:
        sums.close()  # type: ignore[no-untyped-call]


def _readable(path: Path) -> list[tuple[str, float]]:
    try:
        found = read(path)
        for key, _ in found:
            json.loads(key)
    except ValueError:
        set_aside(path)
        return []
    return found


def _dead_files(shared: Path) -> list[Path]:
    found: dict[str, list[Path]] = {}
    for path in shared.glob("*.db"):
        found.setdefault(path.stem.rpartition("_")[2], []).append(path)
    return [path for name, files in found.items() if name != _DEAD and not _lives(shared, name) for path in files]


def _lives(shared: Path, name: str) -> bool:
    try:
        descriptor = os.open(shared / f"{name}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(shared: Path, files: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    for path in _locks(shared):
        if not _lives(shared, path.stem):
            path.unlink(missing_ok=True)


def _locks(shared: Path) -> Iterator[Path]:
    yield from list(shared.glob("*.lock"))
