"""What the processes of a node share: signals to stop and to reload, the spool, the command that starts another."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType

import pydicom.config

from sbnode.config import Config
from sbnode.errors import ConfigError, SpoolError, unusable
from sbnode.spool import Spool

__all__ = ["Signals", "leave_values_unjudged", "node_command", "open_spool", "reload_held", "signals", "take_role"]

_POLL_S = 0.5
_PREDECESSOR_S = 2.0
_HELD = frozenset({signal.SIGHUP})


def open_spool(config: Config) -> Spool:
    """Open the spool that ``config`` names.

    Raises:
        ConfigError: it can't be used.
        SpoolError: its device is full.
    """
    try:
        return Spool(config.spool.path, config.spool.min_free_bytes, config.receive.max_instance_bytes)
    except SpoolError as error:
        if isinstance(error.__cause__, OSError):
            raise unusable(f"spool.path: {config.spool.path}", error.__cause__) from error
        raise ConfigError(f"spool.path: {error}") from error


def take_role(spool: Spool) -> int:
    """Be the one process that receives into ``spool``, until the descriptor that is returned is closed.

    A second one would put its configuration in the place of that which the first one's worker goes by.

    Raises:
        ConfigError: another process receives into it.
        SpoolError: the device is full.
    """
    path = spool.path / "workers" / "receiving"
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise unusable(f"spool.path: {path}", error) from error
    deadline_s = time.monotonic() + _PREDECESSOR_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                os.close(descriptor)
                raise ConfigError(
                    f"spool.path: another node receives into {spool.path}; end that one first, or give this one a spool"
                    " of its own"
                ) from None
            time.sleep(0.1)
        else:
            return descriptor


def leave_values_unjudged() -> None:
    """Have pydicom take the values of this process's data sets as they are.

    It judges every UID and value by its Value Representation and warns, which takes long (`python -m
    benchmarks.receive`) and changes nothing: what the node goes by, it checks itself.
    """
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def node_command(config_file: Path | None, *arguments: str) -> list[str]:
    """Return the command line that runs ``sbnode`` with this configuration."""
    options = ["--config", str(config_file)] if config_file is not None else []
    return [sys.executable, "-m", "sbnode.cli", *arguments, *options]


@dataclass(frozen=True, slots=True)
class Signals:
    """What the process was told: to stop, and to read its configuration again."""

    stop: Event
    reload: Event

    def wait(self, on_reload: Callable[[], None]) -> None:
        """Return when ``stop`` is set; call ``on_reload`` for each signal to reload until then."""
        while not self.stop.wait(_POLL_S):
            if self.reload.is_set():
                self.reload.clear()
                on_reload()


def signals() -> Signals:
    """Return what SIGTERM and SIGINT set, and SIGHUP; at a terminal SIGHUP says that this has gone, and stops too."""
    found = Signals(Event(), Event())

    def on_stop(_: int, __: FrameType | None) -> None:
        found.stop.set()

    def on_reload(_: int, __: FrameType | None) -> None:
        found.reload.set()

    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    signal.signal(signal.SIGHUP, on_stop if sys.stderr.isatty() else on_reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    return found


@contextmanager
def reload_held() -> Iterator[None]:
    """Have a process that is started here keep a SIGHUP until it calls ``signals``; by default it would end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
