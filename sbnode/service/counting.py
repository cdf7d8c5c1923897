"""What the receiver tells, counted for Prometheus and written into the audit trail."""

from __future__ import annotations

from collections.abc import Mapping

from sbnode import log, metrics
from sbnode.audit import Audit, Participant
from sbnode.config import Config
from sbnode.scp.completion import SeriesCompletion
from sbnode.scp.observer import AssociationOutcome

__all__ = ["ReceiverCounter"]


class ReceiverCounter:
    """Counts and audits what the receiver tells: its Observer."""

    def __init__(self, config: Config, audit: Audit) -> None:
        self._audit = audit
        self.use(config)

    def use(self, config: Config) -> None:
        """Name the callers of ``config`` from now on; all others are one."""
        self._callers = config.receive.allowed
        for caller in self._callers:
            metrics.RECEIVED_BYTES.labels(caller)  # so that who sends nothing is seen to send nothing

    def transferred(self, sender: Participant, instances: Mapping[str, int]) -> None:
        """Audit what an association brought."""
        for study, count in instances.items():
            self._audit.received(sender, study, count)

    def turned_away(self, caller: Participant) -> None:
        """Audit who was turned away."""
        self._audit.rejected(caller)

    def association(self, outcome: AssociationOutcome, calling_ae_title: str) -> None:
        """Count an outcome; a rejection goes into the log."""
        metrics.ASSOCIATIONS.labels(self._caller(calling_ae_title), outcome).inc()
        if outcome.startswith("rejected"):
            log.get_logger().warning("association_rejected", outcome=outcome, calling_ae_title=calling_ae_title)

    def answered(self, calling_ae_title: str, status: int, data_set_bytes: int, new: bool, seconds: float) -> None:
        """Count a C-STORE, and the bytes of what was new."""
        caller = self._caller(calling_ae_title)
        metrics.INSTANCES.labels(caller, f"0x{status:04X}").inc()
        metrics.RECEIVE_DURATION.observe(seconds)
        if new:
            metrics.RECEIVED_BYTES.labels(caller).inc(data_set_bytes)

    def oversized(self, calling_ae_title: str) -> None:
        """Count an association that was aborted for its size."""
        metrics.ASSOCIATIONS.labels(self._caller(calling_ae_title), "oversized").inc()
        log.get_logger().warning("association_aborted", reason="above receive.max_instance_bytes")

    def completed(self, completion: SeriesCompletion) -> None:
        """Count a series, and the instances that came late."""
        metrics.SERIES_COMPLETED.labels(completion.reason).inc()
        if completion.late:
            metrics.LATE_INSTANCES.inc(completion.instances)
        log.get_logger().info(
            "series_complete",
            series=log.short_hash(completion.key.series_instance_uid),
            reason=completion.reason,
            instances=completion.instances,
        )

    def _caller(self, calling_ae_title: str) -> str:
        return metrics.bounded(calling_ae_title, self._callers)
