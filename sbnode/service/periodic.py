"""Something that is done again and again, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sbnode import log

__all__ = ["Periodic"]

_END_S = 1.0


class Periodic:
    """Calls ``turn`` every ``every_s`` seconds, whatever became of the time before.

    Args:
        name: of the thread, and of what is logged when a turn fails: ``<name>_failed``.
        every_s: the pause before each turn.
        turn: given a function that says whether the thread is to end; a long turn looks at it.
    """

    def __init__(self, name: str, every_s: float, turn: Callable[[Callable[[], bool]], None]) -> None:
        self._name, self._every_s, self._turn = name, every_s, turn
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn that is being done; of one that takes long, the process's end is the end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._turn(self._stopping.is_set)
            except Exception as error:
                # The thread's boundary: without it there would never be another turn.
                log.get_logger().error(f"{self._name}_failed", **log.fault(error))
