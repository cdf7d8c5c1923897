"""A folder for what one process is writing, swept when that process has gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from pathlib import Path

__all__ = ["open_session"]

_LOCK = ".lock"


def open_session(folder: Path) -> tuple[Path, int]:
    """Return a new folder under ``folder`` and the descriptor that keeps it; remove what dead processes left.

    Each session holds a lock on its own folder. The kernel frees it with the process, however that ends and
    in whatever container it ran, so that a live session is never swept and a process id never mistaken.
    """
    guard = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for leftover in folder.iterdir():
            if leftover.is_dir():
                _sweep(leftover)
        session = folder / uuid.uuid4().hex
        session.mkdir()
        lock = os.open(session, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return session, lock
    finally:
        os.close(guard)


def _sweep(session: Path) -> None:
    try:
        descriptor = os.open(session, os.O_RDONLY)
    except PermissionError:
        return  # another user's; it takes next to no space
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(session)
    except (BlockingIOError, PermissionError):
        return
    finally:
        os.close(descriptor)
