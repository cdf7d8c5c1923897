"""How many bytes of data sets are in memory, over all associations."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable

__all__ = ["Intake"]


class Intake:
    """Counts what associations hold, so that memory stays bounded whatever they send.

    One association may hold one instance of the greatest size, all together two. CT slices are half a
    megabyte, so only several giant multi-frame images at once meet the second limit. Safe for several
    threads.
    """

    def __init__(self, max_instance_bytes: int) -> None:
        self._limit_bytes = max_instance_bytes
        self._held_bytes: defaultdict[Hashable, int] = defaultdict(int)
        self._lock = threading.Lock()

    def take(self, association: Hashable, received_bytes: int) -> bool:
        """Count bytes that came; return whether they are still within the limits."""
        with self._lock:
            self._held_bytes[association] += received_bytes
            own_bytes, all_bytes = self._held_bytes[association], sum(self._held_bytes.values())
        return own_bytes <= self._limit_bytes and all_bytes <= 2 * self._limit_bytes

    def give_back(self, association: Hashable, stored_bytes: int) -> None:
        """Count off a data set that was stored or refused."""
        with self._lock:
            if association in self._held_bytes:
                self._held_bytes[association] -= stored_bytes

    def holds(self, association: Hashable) -> bool:
        """Return whether anything that an association sent is neither stored nor refused yet."""
        with self._lock:
            return self._held_bytes.get(association, 0) > 0

    def forget(self, association: Hashable) -> None:
        """Count off all that a closed association held."""
        with self._lock:
            self._held_bytes.pop(association, None)
