"""One worker per name: a lock that the kernel frees when the worker's process ends, however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sbnode.errors import ConfigError
from sbnode.metrics import ModelFacts

__all__ = ["Lease", "live_workers"]

_FOLDER = "workers"
_PATIENCE_S = 1.0
"""Who looks whether a worker lives holds its lock for a moment; a worker that starts waits that out."""


class Lease:
    """The right to work under a name, held until ``close`` or the end of the process.

    Args:
        spool: the spool that the workers share.
        name: the worker's name.
        wait_s: how long to wait for a predecessor to end.

    Raises:
        ConfigError: another process works under this name.
    """

    def __init__(self, spool: Path, name: str, wait_s: float = 0.0) -> None:
        folder = spool / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name}.lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + max(wait_s, _PATIENCE_S)
        while not _lock(self._descriptor):
            if time.monotonic() > deadline:
                os.close(self._descriptor)
                raise ConfigError(f"queue.worker: another worker named '{name}' is running; give this one another name")
            time.sleep(0.1)
        os.truncate(self._descriptor, 0)

    def announce(self, models: Sequence[ModelFacts]) -> None:
        """Say that this worker is ready, and with which models."""
        content = json.dumps([asdict(model) for model in models])
        os.pwrite(self._descriptor, content.encode(), 0)

    def close(self) -> None:
        """Give the name up."""
        os.close(self._descriptor)


def live_workers(spool: Path) -> dict[str, tuple[ModelFacts, ...]]:
    """Return the models of each worker that runs and is ready, by the worker's name."""
    found = {}
    for path in sorted((spool / _FOLDER).glob("*.lock")):
        with path.open("rb") as file:
            if _lock(file.fileno()):
                continue
            content = file.read()
        if content:
            found[path.stem] = tuple(ModelFacts(**facts) for facts in json.loads(content))
    return found


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
