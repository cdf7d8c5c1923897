"""Storage Commitment for those who send: a thread of the receiving process reports what the spool holds."""

from __future__ import annotations

import threading
import time

from sbnode import log
from sbnode.config import Config
from sbnode.errors import ConfigError, DeliveryError
from sbnode.scu import commitment
from sbnode.spool import Request, Spool

__all__ = ["Reporter"]

_TICK_S = 1.0
_NEXT_TRY_S = 30.0
_GIVEN_UP_AFTER_S = 24 * 3600.0


class Reporter:
    """Answers the requests in ``spool.commitments``, again and again until each is taken or a day old."""

    def __init__(self, config: Config, spool: Spool, tick_s: float = _TICK_S, next_try_s: float = _NEXT_TRY_S) -> None:
        self._archives = {archive.ae_title: archive for archive in config.archives}
        self._ae_title = config.node.ae_title
        self._spool = spool
        self._tick_s, self._next_try_s = tick_s, next_try_s
        self._not_before_s: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commitment-reporter", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier process left."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is owed stays in the spool."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._tick_s):
            try:
                self._round()
            except Exception as error:
                # The thread's boundary: without it no sender would ever be answered again.
                log.get_logger().error("commitment_reporter_failed", **log.fault(error))

    def _round(self) -> None:
        """Answer what is due; an archive that can't be told is left alone for a while, the others are told."""
        now_s = time.monotonic()
        due = [
            (request, age_s)
            for request, age_s in self._spool.commitments.owed()
            if now_s >= self._not_before_s.get(request.ae_title, 0.0)
        ]
        held = self._spool.instances() if due else frozenset()
        for request, age_s in due:
            if self._stopping.is_set():
                return
            if now_s >= self._not_before_s.get(request.ae_title, 0.0):
                self._answer(request, age_s, held)

    def _answer(self, request: Request, age_s: float, held: frozenset[str]) -> None:
        archive = self._archives.get(request.ae_title)
        if archive is None or age_s > _GIVEN_UP_AFTER_S:
            self._settled(request, "given_up")
            return
        try:
            commitment.prove(request, held, archive, archive.calling_ae_title or self._ae_title)
        except (DeliveryError, ConfigError) as error:
            self._not_before_s[request.ae_title] = time.monotonic() + self._next_try_s
            log.get_logger().warning("commitment_not_reported", archive=archive.name, reason=str(error))
        else:
            missing = any(uid not in held for _, uid in request.references)
            self._settled(request, "missing" if missing else "reported")

    def _settled(self, request: Request, outcome: str) -> None:
        self._spool.commitments.settle(request.transaction_uid)
        log.get_logger().info("commitment", outcome=outcome, instances=len(request.references))
