"""The one thread that knows which studies are on their way."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sbnode.config import Completion
from sbnode.log import fault, get_logger, short_hash
from sbnode.scp.completion import (
    CompletionTracker,
    ExpectedCount,
    Held,
    OpenSeries,
    Retrieve,
    SeriesCompletion,
    StudyCompletion,
)
from sbnode.scp.observer import Observer
from sbnode.series import Instance, SeriesKey

__all__ = ["CompletionWatch", "OnStudyComplete", "OnTheirWay"]

OnStudyComplete = Callable[[str, tuple[SeriesCompletion, ...]], None]

_TICK_S = 0.2
_NEXT_OFFER_S = 10.0
_END_S = 2.0


@dataclass(frozen=True, slots=True)
class OnTheirWay:
    """What isn't in the queue yet: open series, and complete studies that the queue has not taken."""

    series: tuple[OpenSeries, ...] = ()
    untaken: int = 0


class CompletionWatch:
    """Hands what associations do to the tracker, and complete studies to ``on_study_complete``.

    Associations only put notes into a queue, so the tracker needs no lock, and neither a slow question to
    an archive nor a slow job queue ever holds up an answer to a sender.
    """

    def __init__(
        self,
        settings: Completion,
        on_study_complete: OnStudyComplete,
        observer: Observer,
        expected_count: ExpectedCount | None = None,
        retrieve: Retrieve | None = None,
        held: Held | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracker = CompletionTracker(settings, expected_count, retrieve, held)
        self._on_study_complete = on_study_complete
        self._observer = observer
        self._clock = clock
        self._notes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._due: list[StudyCompletion] = []
        self._next_offer_s = 0.0
        self._on_their_way = OnTheirWay()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="completion-watch", daemon=True)

    def start(self, stored: Mapping[SeriesKey, int]) -> None:
        """Begin with the series that an earlier process stored."""
        now_s = self._clock()
        for key, instances in stored.items():
            self._tracker.stored(key, instances, now_s)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, but don't wait for an archive or a database that doesn't answer.

        Studies that are not complete or not queued yet stay in the spool, and are looked at after the next start.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    @property
    def on_their_way(self) -> OnTheirWay:
        """As of the last turn; ``last_received_s`` is by this object's clock."""
        return self._on_their_way

    def received(self, association: int, instance: Instance) -> None:
        """Note a new instance."""
        now_s = self._clock()
        self._notes.put(lambda: self._tracker.received(association, instance, now_s))

    def ended(self, association: int, *, released: bool) -> None:
        """Note the end of an association; a second note of the same end changes nothing."""
        self._notes.put(lambda: self._tracker.ended(association, released=released))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:
                # The thread's boundary: without it no study would ever be complete again. A series whose note was lost
                # completes by idle time.
                get_logger().error("completion_failed", **fault(error))
            self._stopping.wait(_TICK_S)

    def _turn(self) -> None:
        self._take_notes()
        now_s = self._clock()
        for study in self._tracker.complete(now_s):
            for completion in study.series:
                self._observer.completed(completion)
            self._due.append(study)
            self._next_offer_s = now_s
        if now_s >= self._next_offer_s:
            self._offer()
        self._on_their_way = OnTheirWay(self._tracker.open_series(), len(self._due))

    def _take_notes(self) -> None:
        while True:
            try:
                note = self._notes.get_nowait()
            except queue.Empty:
                return
            note()

    def _offer(self) -> None:
        due, self._due = self._due, []
        for study in due:
            try:
                self._on_study_complete(study.study_instance_uid, study.series)
            except Exception as error:
                # The job boundary. What was acknowledged must become a job: offered again until the queue
                # takes it.
                get_logger().error("study_not_queued", study=short_hash(study.study_instance_uid), **fault(error))
                self._due.append(study)
                self._next_offer_s = self._clock() + _NEXT_OFFER_S
