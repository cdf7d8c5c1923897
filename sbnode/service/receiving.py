"""The receiving process: C-STORE in, studies into the queue, and what an operator's tools ask."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sbnode import log, metrics
from sbnode.audit import Audit
from sbnode.config import Config
from sbnode.errors import unusable
from sbnode.jobs.client import JobClient
from sbnode.jobs.lease import live_workers
from sbnode.scp.completion import SeriesCompletion
from sbnode.scp.server import Receiver
from sbnode.scu.archive import Archives
from sbnode.service.certificates import CertificateWatch
from sbnode.service.commitments import Reporter
from sbnode.service.counting import ReceiverCounter
from sbnode.service.destinations import DestinationWatch
from sbnode.service.gauges import Gauges
from sbnode.service.manager import tell_manager
from sbnode.service.notices import Notices
from sbnode.service.overview import Gatherer
from sbnode.service.periodic import Periodic
from sbnode.service.process import Signals, leave_values_unjudged, open_spool, signals, take_role
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
    node = _build(config, config_file, told, with_worker=with_worker)
    try:
        node.start()
        told.wait(node.reload)
        node.tell_of_end()
    finally:
        node.end()
    if node.supervisor is not None and node.supervisor.fault is not None:
        raise node.supervisor.fault
    log.get_logger().info("stopped")


class _FollowsConfig(Protocol):
    """What takes another configuration while it runs."""

    def use(self, config: Config) -> None:
        """Go by ``config`` from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """The parts of the receiving process, wired and not yet running."""

    settings: Settings
    in_force: Path
    role: int
    """Descriptor of what makes this the one process that receives into the spool."""
    spool: Spool
    queue: JobClient
    audit: Audit
    receiver: Receiver
    background: tuple[Periodic, ...]
    status: StatusServer
    supervisor: Supervisor | None
    followers: tuple[_FollowsConfig, ...]

    def start(self) -> None:
        """Start every part, and tell that they run."""
        self.receiver.start(self.spool.stored())
        for periodic in self.background:
            periodic.start()
        self.status.start()
        if self.supervisor is not None:
            self.supervisor.start()
        self.audit.application(started=True)
        config = self.settings.config
        log.get_logger().info(
            "serving",
            port=config.node.port,
            tls_port=config.node.tls_port,
            status_port=config.status.port,
            worker=self.supervisor is not None,
        )
        tell_manager("READY=1")

    def reload(self) -> None:
        """Read the configuration again, and have every part go by what can be changed of it."""
        if self.settings.reload(lambda config: write(config, self.in_force)):
            for part in self.followers:
                part.use(self.settings.config)
            if self.supervisor is not None:
                self.supervisor.reload()

    def tell_of_end(self) -> None:
        """Tell that the end was asked for."""
        tell_manager("STOPPING=1")
        log.get_logger().info("stopping", drain_s=self.settings.config.node.drain_s)
        self.audit.application(started=False)

    def end(self) -> None:
        """End every part, started or not; associations and steps have ``node.drain_s`` to end by themselves."""
        drain_s = self.settings.config.node.drain_s
        deadline_s = time.monotonic() + drain_s
        if self.supervisor is not None:
            self.supervisor.drain()
        self.receiver.stop(drain_s)
        for periodic in self.background:
            periodic.stop()
        if self.supervisor is not None:
            self.supervisor.stop(max(0.0, deadline_s - time.monotonic()))
        self.status.stop()
        self.queue.close()
        self.audit.close()
        os.close(self.role)


def _build(config: Config, config_file: Path | None, told: Signals, *, with_worker: bool) -> _Node:
    settings = Settings(config, config_file)
    spool = open_spool(config)
    role = take_role(spool)
    metrics.forget_dead_processes()
    queue = JobClient(config, spool)
    in_force = _put_in_force(config)
    supervisor = Supervisor(in_force, told.stop) if with_worker else None
    audit = Audit.open(config.audit, config.node.ae_title)
    archives = Archives(config.archives, config.node.ae_title)
    counter = ReceiverCounter(config, audit)
    on_study = _queue_study(spool, queue)
    receiver = Receiver(config, spool, on_study, counter, archives.expected_count, archives.retrieve)
    certificates = CertificateWatch(config, receiver)
    reporter = Reporter(config, spool)
    retention = Retention(config, spool, queue, audit)
    notices = Notices(config, spool, queue)
    destinations = DestinationWatch(config)
    gauges = Gauges(config, spool, queue, receiver, certificates, destinations)
    overview = Gatherer(config, spool, queue, receiver, audit, certificates.ends, with_worker=with_worker)
    watches = (certificates, reporter, retention, notices, destinations)
    return _Node(
        settings=settings,
        in_force=in_force,
        role=role,
        spool=spool,
        queue=queue,
        audit=audit,
        receiver=receiver,
        background=(
            Periodic("certificates", RENEWAL_S, certificates.turn),
            Periodic("commitment_reporter", REPORT_S, reporter.turn),
            Periodic("retention", config.retention.sweep_s, retention.turn),
            Periodic("notices", NOTICES_S, notices.turn),
            Periodic("destination_check", LOOK_S, destinations.turn),
        ),
        status=_status_server(config, spool, supervisor, gauges, overview),
        supervisor=supervisor,
        followers=(receiver, counter, queue, archives, *watches, gauges, overview),
    )


def _put_in_force(config: Config) -> Path:
    """Keep what is in force here for the worker: a file that is being edited must not reach it when it starts again."""
    path = config.spool.path.resolve() / IN_FORCE
    try:
        write(config, path)
    except OSError as error:
        raise unusable(f"spool.path: {path}", error) from error
    return path


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
