"""Names of scanner models as label values: cleaned, and no more than the first few, whoever sends what."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from threading import Lock

from sbnode.metrics.labels import OTHER

__all__ = ["MOST", "ScannerNames"]

MOST = 20
"""So many models have time series of their own."""
_LONGEST = 32
_UNUSUAL = re.compile(r"[^A-Za-z0-9 ._+/-]+")


class ScannerNames:
    """The models that were seen first, kept in ``file`` so that a restart adds none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = Lock()
        self._known = self._read()

    def take(self, model_name: str) -> str:
        """Return the label value of Manufacturer's Model Name (0008,1090)."""
        name = _UNUSUAL.sub("", model_name).strip()[:_LONGEST].strip()
        with self._lock:
            if not name or (name not in self._known and len(self._known) >= MOST):
                return OTHER
            if name not in self._known:
                self._known.append(name)
                self._write()
        return name

    def _read(self) -> list[str]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [str(name) for name in found][:MOST] if isinstance(found, list) else []

    def _write(self) -> None:
        unfinished = self._file.with_suffix(".new")
        with suppress(OSError):  # on a full disk a restart forgets the newest, no more
            unfinished.write_text(json.dumps(self._known), encoding="utf-8")
            unfinished.replace(self._file)
