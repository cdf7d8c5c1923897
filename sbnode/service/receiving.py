"""The receiving process: C-STORE in, studies into the queue, and what an operator's tools ask."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sbnode import log, metrics
from sbnode.audit import Audit, Participant
from sbnode.config import Config
from sbnode.errors import unusable
from sbnode.jobs.client import JobClient
from sbnode.jobs.lease import live_workers
from sbnode.scp.completion import SeriesCompletion
from sbnode.scp.observer import AssociationOutcome
from sbnode.scp.server import Receiver
from sbnode.scu.archive import Archives
from sbnode.service.certificates import CertificateWatch
from sbnode.service.commitments import Reporter
from sbnode.service.destinations import DestinationWatch
from sbnode.service.gauges import Gauges
from sbnode.service.manager import tell_manager
from sbnode.service.notices import Notices
from sbnode.service.overview import Gatherer
from sbnode.service.periodic import Periodic
from sbnode.service.process import leave_values_unjudged, open_spool, signals, take_role
from sbnode.service.retention import Retention
from sbnode.service.settings import Settings, write
from sbnode.service.supervisor import Supervisor
from sbnode.spool import Spool
from sbnode.status import StatusServer

__all__ = ["serve"]

IN_FORCE = Path("workers", "config.yaml")
"""In the spool: the configuration of the worker process."""
NOTICES_S = 5.0
"""How often it is looked for dead letters to tell of."""
REPORT_S = 1.0
"""How often requests for storage commitment are looked for."""
LOOK_S = 1.0
"""How often it is looked whether destinations are to be looked at."""
RENEWAL_S = 10.0
"""How often it is looked whether the certificates of ``node.tls`` have changed."""


def serve(config: Config, config_file: Path | None, *, with_worker: bool) -> None:
    """Run the receiving process until SIGTERM or SIGINT.

    Raises:
        ConfigError: a port, the spool, the queue or a model can't be used.
        SpoolError: the device of the spool is full.
        QueueUnavailable: the queue's database doesn't answer.
    """
    told = signals()
    leave_values_unjudged()
    settings = Settings(config, config_file)
    spool = open_spool(config)
    role = take_role(spool)
    metrics.forget_dead_processes()
    queue = JobClient(config, spool)
    # The worker works by what is in force here: a file that is being edited must not reach it when it starts again.
    in_force = config.spool.path.resolve() / IN_FORCE
    try:
        write(config, in_force)
    except OSError as error:
        raise unusable(f"spool.path: {in_force}", error) from error
    supervisor = Supervisor(in_force, told.stop) if with_worker else None
    audit = Audit.open(config.audit, config.node.ae_title)
    archives = Archives(config.archives, config.node.ae_title)
    counter = ReceiverCounter(config, audit)
    receiver = Receiver(
        config,
        spool,
        _queue_study(spool, queue),
        counter,
        archives.expected_count,
        archives.retrieve,
    )
    certificates = CertificateWatch(config, receiver)
    reporter = Reporter(config, spool)
    retention = Retention(config, spool, queue, audit)
    notices = Notices(config, spool, queue)
    destinations = DestinationWatch(config)
    gauges = Gauges(config, spool, queue, receiver, certificates, destinations)
    background = (
        Periodic("certificates", RENEWAL_S, certificates.turn),
        Periodic("commitment_reporter", REPORT_S, reporter.turn),
        Periodic("retention", config.retention.sweep_s, retention.turn),
        Periodic("notices", NOTICES_S, notices.turn),
        Periodic("destination_check", LOOK_S, destinations.turn),
    )
    overview = Gatherer(config, spool, queue, receiver, audit, certificates.ends, with_worker=with_worker)
    status = _status_server(config, spool, supervisor, gauges, overview)
    logger = log.get_logger()
    drain_s = config.node.drain_s

    def reload() -> None:
        if settings.reload(lambda config: write(config, in_force)):
            for part in (
                receiver,
                counter,
                queue,
                archives,
                certificates,
                reporter,
                retention,
                notices,
                destinations,
                gauges,
                overview,
            ):
                part.use(settings.config)
            if supervisor is not None:
                supervisor.reload()

    try:
        receiver.start(spool.stored())
        for periodic in background:
            periodic.start()
        status.start()
        if supervisor is not None:
            supervisor.start()
        audit.application(started=True)
        logger.info(
            "serving",
            port=config.node.port,
            tls_port=config.node.tls_port,
            status_port=config.status.port,
            worker=with_worker,
        )
        tell_manager("READY=1")
        told.wait(reload)
        tell_manager("STOPPING=1")
        logger.info("stopping", drain_s=drain_s)
        audit.application(started=False)
    finally:
        deadline_s = time.monotonic() + drain_s
        if supervisor is not None:
            supervisor.drain()
        receiver.stop(drain_s)
        for periodic in background:
            periodic.stop()
        if supervisor is not None:
            supervisor.stop(max(0.0, deadline_s - time.monotonic()))
        status.stop()
        queue.close()
        audit.close()
        os.close(role)
    if supervisor is not None and supervisor.fault is not None:
        raise supervisor.fault
    logger.info("stopped")


class ReceiverCounter:
    """Counts and audits what the receiver tells."""

    def __init__(self, config: Config, audit: Audit) -> None:
        self._audit = audit
        self.use(config)

    def use(self, config: Config) -> None:
        """Name the callers of ``config`` from now on; all others are one."""
        self._callers = config.receive.allowed
        for caller in self._callers:
            metrics.RECEIVED_BYTES.labels(caller)  # so that who sends nothing is seen to send nothing

    def transferred(self, sender: Participant, instances: Mapping[str, int]) -> None:
        for study, count in instances.items():
            self._audit.received(sender, study, count)

    def turned_away(self, caller: Participant) -> None:
        self._audit.rejected(caller)

    def association(self, outcome: AssociationOutcome, calling_ae_title: str) -> None:
        metrics.ASSOCIATIONS.labels(self._caller(calling_ae_title), outcome).inc()
        if outcome.startswith("rejected"):
            log.get_logger().warning("association_rejected", outcome=outcome, calling_ae_title=calling_ae_title)

    def answered(self, calling_ae_title: str, status: int, data_set_bytes: int, new: bool, seconds: float) -> None:
        caller = self._caller(calling_ae_title)
        metrics.INSTANCES.labels(caller, f"0x{status:04X}").inc()
        metrics.RECEIVE_DURATION.observe(seconds)
        if new:
            metrics.RECEIVED_BYTES.labels(caller).inc(data_set_bytes)

    def oversized(self, calling_ae_title: str) -> None:
        metrics.ASSOCIATIONS.labels(self._caller(calling_ae_title), "oversized").inc()
        log.get_logger().warning("association_aborted", reason="above receive.max_instance_bytes")

    def completed(self, completion: SeriesCompletion) -> None:
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


def _queue_study(spool: Spool, queue: JobClient) -> Callable[[str, tuple[SeriesCompletion, ...]], None]:
    def on_study_complete(study_instance_uid: str, _: tuple[SeriesCompletion, ...]) -> None:
        study = spool.series(study_instance_uid)
        if study:
            name = queue.submit(study)
            instances = sum(len(series.instances) for series in study)
            log.get_logger().info("study_queued", study=name, series=len(study), instances=instances)

    return on_study_complete


def _status_server(
    config: Config, spool: Spool, supervisor: Supervisor | None, gauges: Gauges, overview: Gatherer
) -> StatusServer:
    def checks() -> dict[str, str | None]:
        full = spool.free_bytes() < config.spool.min_free_bytes
        found: dict[str, str | None] = {
            "dicom": None,
            "spool": "free space is below spool.min_free_bytes" if full else None,
        }
        if supervisor is not None:
            found["worker"] = None if live_workers(spool.path) else "no worker is ready"
        return found

    return StatusServer(config.status, metrics.registry(gauges.state), checks, overview.source())
