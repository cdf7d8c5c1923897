"""Files of /proc that hold a field a line (proc(5))."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["fields", "size_bytes"]


def fields(path: Path) -> Sequence[tuple[str, str]]:
    """Return key and value of each line of ``path``, such as /proc/meminfo; of /proc/cpuinfo keys come again and again.

    Raises:
        OSError: it can't be read; of a process, it may have gone.
    """
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [(key.strip(), value.strip()) for key, colon, value in lines if colon]


def size_bytes(field: str | None) -> int | None:
    """Return the size that a field such as "1024 kB" says; None where there is no such field."""
    return 1024 * int(field.split()[0]) if field else None
