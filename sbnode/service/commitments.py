"""Storage Commitment for those who send: reporting what the spool holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sbnode import log
from sbnode.config import Archive, Config
from sbnode.errors import ConfigError, DeliveryError
from sbnode.scu import commitment
from sbnode.scu.failure_reason import FailureReason
from sbnode.spool import Holdings, Request, Spool

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
        """Answer what is due; an archive that can't be told is left alone for a while, the others are told.

        Files are read for each request on its own: one that can't be read is a failure in that request's report.
        """
        if not (due := self._due()):
            return
        holdings = self._spool.holdings({uid for request, _ in due for _, uid in request.references})
        for request, archive in due:
            if stopping():
                return
            if self._is_time(request):
                with self._put_off_by_failure(request, archive.name):
                    self._answer(request, archive, holdings)

    def _due(self) -> list[tuple[Request, Archive]]:
        """Give up what is too old or can't be reported, and return what is to be answered now."""
        due = []
        for request, age_s in self._spool.commitments.owed():
            if not self._is_time(request):
                continue
            archive = self._archives.get(request.ae_title)
            if archive is not None and age_s <= _GIVEN_UP_AFTER_S:
                due.append((request, archive))
            else:
                with self._put_off_by_failure(request, request.ae_title):
                    self._settled(request, "given_up")
        return due

    def _is_time(self, request: Request) -> bool:
        return time.monotonic() >= self._not_before_s.get(request.ae_title, 0.0)

    def _answer(self, request: Request, archive: Archive, holdings: Holdings) -> None:
        held = holdings.held({uid for _, uid in request.references})
        failures = commitment.prove(request, held, archive, archive.calling_ae_title or self._ae_title)
        self._settled(request, "missing" if failures else "reported", failures)

    @contextmanager
    def _put_off_by_failure(self, request: Request, name: str) -> Iterator[None]:
        """Leave an archive alone for a while when it can't be told, or the device fails."""
        try:
            yield
        except (DeliveryError, ConfigError, OSError) as error:
            self._not_before_s[request.ae_title] = time.monotonic() + _NEXT_TRY_S
            log.get_logger().warning("commitment_not_reported", archive=name, reason=str(error))

    def _settled(self, request: Request, outcome: str, failures: Mapping[FailureReason, int] | None = None) -> None:
        self._spool.commitments.settle(request.transaction_uid)
        facts = {"failures": {str(reason): number for reason, number in failures.items()}} if failures else {}
        log.get_logger().info("commitment", outcome=outcome, instances=len(request.references), **facts)
