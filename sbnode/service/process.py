"""What the processes of a node share: the signal to stop, the spool, and the command that starts another."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Event
from types import FrameType

from sbnode.config import Config
from sbnode.errors import ConfigError, SpoolError
from sbnode.spool import Spool

__all__ = ["DRAIN_S", "node_command", "open_spool", "stop_signal"]

DRAIN_S = 20.0
"""A running step may take this long to end after SIGTERM; what doesn't end is done again after the next
start.
"""


def open_spool(config: Config) -> Spool:
    """Open the spool that ``config`` names.

    Raises:
        ConfigError: it can't be used.
    """
    try:
        return Spool(config.spool.path, config.spool.min_free_bytes, config.receive.max_instance_bytes)
    except SpoolError as error:
        raise ConfigError(f"spool.path: {error}") from error


def node_command(config_file: Path | None, *arguments: str) -> list[str]:
    """Return the command line that runs ``sbnode`` with this configuration."""
    options = ["--config", str(config_file)] if config_file is not None else []
    return [sys.executable, "-m", "sbnode.cli", *arguments, *options]


def stop_signal() -> Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop
