"""Writing so that a power cut leaves the old or the new, and never half of it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

__all__ = ["flush", "write"]


def write(path: Path, text: str, mode: int = 0o666) -> None:
    """Put a file with this text in the place of ``path``; its folder is made where it is missing.

    Args:
        path: of the file.
        text: written as UTF-8.
        mode: permissions, less those of the umask.

    Raises:
        OSError: the device failed or is full; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    flush(path.parent)


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
