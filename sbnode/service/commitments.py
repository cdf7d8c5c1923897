"""Storage Commitment for those who send: reporting what the spool holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from sbnode import log
from sbnode.config import Config
from sbnode.errors import ConfigError, DeliveryError
from sbnode.scu import commitment
from sbnode.scu.failure_reason import FailureReason
from sbnode.spool import Request, Spool

__all__ = ["Reporter"]

_NEXT_TRY_S = 30.0
_GIVEN_UP_AFTER_S = 24 * 3600.0


class Reporter:
    """Answers the requests in ``spool.commitments``, again and again until each is taken or a day old."""

    def __init__(self, config: Config, spool: Spool) -> None:
        self._spool = spool
        self._not_before_s: dict[str, float] = {}
        self.use(config)

    def use(self, config: Config) -> None:
        """Work by ``config`` from now on."""
        self._archives = {archive.ae_title: archive for archive in config.archives}
        self._ae_title = config.node.ae_title

    def turn(self, stopping: Callable[[], bool]) -> None:
        """Answer what is due; an archive that can't be told is left alone for a while, the others are told."""
        now_s = time.monotonic()
        due = [
            (request, age_s)
            for request, age_s in self._spool.commitments.owed()
            if now_s >= self._not_before_s.get(request.ae_title, 0.0)
        ]
        asked = {uid for request, _ in due for _, uid in request.references}
        held = self._spool.held(asked) if due else {}
        for request, age_s in due:
            if stopping():
                return
            if now_s >= self._not_before_s.get(request.ae_title, 0.0):
                self._answer(request, age_s, held)

    def _answer(self, request: Request, age_s: float, held: commitment.Held) -> None:
        archive = self._archives.get(request.ae_title)
        if archive is None or age_s > _GIVEN_UP_AFTER_S:
            self._settled(request, "given_up")
            return
        try:
            failures = commitment.prove(request, held, archive, archive.calling_ae_title or self._ae_title)
        except (DeliveryError, ConfigError) as error:
            self._not_before_s[request.ae_title] = time.monotonic() + _NEXT_TRY_S
            log.get_logger().warning("commitment_not_reported", archive=archive.name, reason=str(error))
        else:
            self._settled(request, "missing" if failures else "reported", failures)

    def _settled(self, request: Request, outcome: str, failures: Mapping[FailureReason, int] | None = None) -> None:
        self._spool.commitments.settle(request.transaction_uid)
        facts = {"failures": {str(reason): number for reason, number in failures.items()}} if failures else {}
        log.get_logger().info("commitment", outcome=outcome, instances=len(request.references), **facts)
