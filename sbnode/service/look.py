"""A question that may not take long, whoever is asked."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

from sbnode import log
from sbnode.errors import SbnodeError

__all__ = ["Look"]

T = TypeVar("T")


class Look(Generic[T]):
    """Asks in a thread of its own and waits for the answer for ``patience_s`` at most.

    While an answer is still awaited nothing more is asked, so that one that never comes costs one thread.
    """

    def __init__(self, ask: Callable[[], T], patience_s: float) -> None:
        self._ask, self._patience_s = ask, patience_s
        self._lock = Lock()
        self._asked: _Asked[T] | None = None

    def __call__(self) -> T | None:
        """Return the answer; None when none came in time, or the question failed."""
        with self._lock:
            if self._asked is None or self._asked.ended.is_set():
                self._asked = _Asked(self._ask)
            asked = self._asked
        return asked.answer if asked.ended.wait(self._patience_s) else None


class _Asked(Generic[T]):
    def __init__(self, ask: Callable[[], T]) -> None:
        self.ended = Event()
        self.answer: T | None = None
        Thread(target=self._run, args=(ask,), name="look", daemon=True).start()

    def _run(self, ask: Callable[[], T]) -> None:
        try:
            self.answer = ask()
        except SbnodeError:
            self.answer = None
        except Exception as error:
            # The thread's boundary: whoever asks gets the same None, and the log says what nobody foresaw.
            log.get_logger().error("look_failed", **log.fault(error))
        finally:
            self.ended.set()
