"""A question that may not take long, whoever is asked."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import Generic, TypeVar

from sbnode import log
from sbnode.errors import SbnodeError

__all__ = ["Answer", "Look"]

T = TypeVar("T")


class Answer(Generic[T]):
    """What ``call`` returns or raises, in a thread that may take for ever: it ends with the process."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._value: list[T] = []
        self._error: Exception | None = None
        self._call = call
        self._thread = Thread(target=self._run, name="answer", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the call has returned or raised."""
        return not self._thread.is_alive()

    def ends_within(self, timeout_s: float) -> bool:
        """Wait; return whether the call has returned or raised by then."""
        self._thread.join(timeout_s)
        return self.ended

    def wait(self, timeout_s: float) -> T:
        """Return or raise what the call did.

        Raises:
            TimeoutError: it isn't done.
        """
        if not self.ends_within(timeout_s):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except Exception as error:  # raised again where it is waited for
            self._error = error


class Look(Generic[T]):
    """Asks in a thread of its own and waits for the answer for ``patience_s`` at most.

    While an answer is still awaited nothing more is asked, so that one that never comes costs one thread.
    """

    def __init__(self, ask: Callable[[], T], patience_s: float) -> None:
        self._ask, self._patience_s = ask, patience_s
        self._lock = Lock()
        self._asked: Answer[T | None] | None = None

    def __call__(self) -> T | None:
        """Return the answer; None when none came in time, or the question failed."""
        with self._lock:
            if self._asked is None or self._asked.ended:
                self._asked = Answer(self._look)
            asked = self._asked
        try:
            return asked.wait(self._patience_s)
        except TimeoutError:
            return None

    def _look(self) -> T | None:
        try:
            return self._ask()
        except SbnodeError:
            return None
        except Exception as error:
            # The thread's boundary: whoever asks gets the same None, and the log says what nobody foresaw.
            log.get_logger().error("look_failed", **log.fault(error))
            return None
