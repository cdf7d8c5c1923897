"""The files that counters are shared through: written by one process each, in the format of prometheus_client.

prometheus_client makes them sparse and writes through a mapping. On a full device such a write has no room to go to,
and the kernel ends the process with SIGBUS. Here a file grows by written zeros before it is mapped, which is an
``OSError`` where there is no room; then the numbers stay in memory until there is.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import structlog
from prometheus_client.mmap_dict import MmapedDict, mmap_key

__all__ = ["UNREADABLE", "CounterFile", "SharedValue", "Unkept", "kept_in", "read", "set_aside"]

UNREADABLE = ".unreadable"
"""Ends the name of a file that was set aside."""
_FIRST_BYTES = 1 << 16
_HEAD_BYTES = 8
"""How much of the file is used stands here; a process that was killed while it made the file leaves less."""


class CounterFile(MmapedDict):
    """Numbers by key, in a file of which each byte has its place on the device."""

    def __init__(self, path: Path) -> None:
        """Open ``path``, or make it.

        Raises:
            OSError: the device has no room, or another fault.
        """
        _grow(path, _FIRST_BYTES)
        super().__init__(str(path))  # type: ignore[no-untyped-call]
        self._path = path

    def make_room(self, keys: Iterable[str]) -> None:
        """Make room for ``keys``, so that writing their numbers can't fail.

        Raises:
            OSError: the device has none; the numbers in the file are as before.
        """
        needed = self._used + sum(_entry_bytes(key) for key in set(keys) if key not in self._positions)
        capacity = self._capacity
        while capacity < needed:
            capacity *= 2
        if capacity > self._capacity:
            _grow(self._path, capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity

    def _init_value(self, key: str) -> None:
        self.make_room((key,))
        super()._init_value(key)  # type: ignore[no-untyped-call]


def _grow(path: Path, size_bytes: int) -> None:
    with path.open("ab", buffering=0) as file:
        if file.tell() < _HEAD_BYTES:
            file.truncate(0)
        while (missing := size_bytes - file.seek(0, 2)) > 0:
            file.write(bytes(missing))


def _entry_bytes(key: str) -> int:
    """A length of 4 bytes, the key filled up with at least one space to a multiple of 8, two doubles."""
    return (len(key.encode()) + 4) // 8 * 8 + 8 + 16


def read(path: Path) -> list[tuple[str, float]]:
    """Return the keys and numbers of a file; of one that is only just being made, none.

    Raises:
        ValueError: it holds something else.
    """
    if path.stat().st_size < _HEAD_BYTES:
        return []
    found, last = [], 0
    try:
        for key, number, _, position in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            if position <= last:
                raise ValueError("a length in it is negative")
            last = position
            found.append((key, number))
    except (RuntimeError, struct.error) as error:
        raise ValueError("it ends too early") from error
    return found


def set_aside(path: Path) -> None:
    """Have a file that can't be read stand in nobody's way. What was counted in it is lost."""
    structlog.get_logger().error("counters_unreadable", file=path.name)
    with suppress(OSError):  # then it is left out again the next time
        path.rename(path.with_name(path.name + UNREADABLE))


class Unkept:
    """Says once that counts can't be put into a file; there may be thousands."""

    def __init__(self) -> None:
        self._said = False

    def say(self, error: OSError) -> None:
        """Log ``error``, the first one only."""
        if not self._said:
            self._said = True
            structlog.get_logger().error("counters_not_kept", error=type(error).__name__, reason=error.strerror)


class SharedValue:
    """A number of this process in a file of its own, as prometheus_client wants it of its ``ValueClass``."""

    _multiprocess = True

    def __init__(self, files: _Files, kind: str, key: str) -> None:
        self._files, self._kind, self._key = files, kind, key
        with files.lock:
            self._number = files.read(kind, key)

    def inc(self, amount: float) -> None:
        """Add ``amount``."""
        with self._files.lock:
            self._number += amount
            self._files.write(self._kind, self._key, self._number)

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Have it be ``value``."""
        with self._files.lock:
            self._number = value
            self._files.write(self._kind, self._key, self._number)

    def get(self) -> float:
        """Return what it is."""
        with self._files.lock:
            return self._number

    def set_exemplar(self, exemplar: object) -> None:
        """Do nothing: files have no place for exemplars."""

    def get_exemplar(self) -> None:
        """Return None: there are no exemplars."""


class _Files:
    """The files of this process, by the kind of metric."""

    def __init__(self, folder: Path, name: str, unkept: Unkept) -> None:
        self.lock = Lock()
        self._folder, self._name, self._unkept = folder, name, unkept
        self._open: dict[str, CounterFile] = {}

    def read(self, kind: str, key: str) -> float:
        """Return the number of ``key``, which from then on is exported; 0 where there is no room for it."""
        try:
            number: float = self._file(kind).read_value(key)[0]  # type: ignore[no-untyped-call]
        except OSError as error:
            self._unkept.say(error)
            return 0.0
        return number

    def write(self, kind: str, key: str, number: float) -> None:
        """Put ``number`` into the file; where there is no room for it, the next one is tried."""
        try:
            self._file(kind).write_value(key, number, 0.0)  # type: ignore[no-untyped-call]
        except OSError as error:
            self._unkept.say(error)

    def _file(self, kind: str) -> CounterFile:
        if kind not in self._open:
            self._open[kind] = CounterFile(self._folder / f"{kind}_{self._name}.db")
        return self._open[kind]


def kept_in(folder: Path, name: str, unkept: Unkept) -> Callable[..., SharedValue]:
    """Return the ``ValueClass`` whose numbers stand in files of ``folder``, called ``<kind>_<name>.db``."""
    files = _Files(folder, name, unkept)

    def make(
        kind: str, metric: str, sample: str, labels: list[str], values: list[str], text: str, **_: Any
    ) -> SharedValue:
        return SharedValue(files, kind, mmap_key(metric, sample, labels, values, text))

    return make
