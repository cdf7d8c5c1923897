"""What a running node looks like: the states that ``/metrics`` exports."""

from __future__ import annotations

import shutil
import time
from hashlib import sha256

from sbnode import metrics
from sbnode.config import Config
from sbnode.jobs.client import JobClient
from sbnode.jobs.lease import live_workers
from sbnode.scp.server import Receiver
from sbnode.service.certificates import CertificateWatch
from sbnode.service.destinations import DestinationWatch
from sbnode.service.look import Look
from sbnode.spool import Spool

__all__ = ["Gauges"]

_PATIENCE_S = 2.0
"""A scrape waits this long for the database of the queue; Prometheus gives it 10 s by default."""


class Gauges:
    """Reads the states off the parts of the receiving process."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        queue: JobClient,
        receiver: Receiver,
        certificates: CertificateWatch,
        destinations: DestinationWatch,
    ) -> None:
        self._spool = spool
        self.use(config)
        self.state = metrics.NodeState(
            disk=self._disk,
            queue=Look(queue.census, _PATIENCE_S),
            worker_alive=lambda: bool(live_workers(spool.path)),
            models=self._models,
            certificates=certificates.ends,
            destinations=destinations.up,
            open_series=lambda: len(receiver.on_their_way.series),
            configuration=lambda: self._digest,
            objective_s=lambda: self._config.monitoring.objective_s,
            now_s=time.time,
        )

    def use(self, config: Config) -> None:
        """Show ``config`` from now on."""
        self._config = config
        self._digest = sha256(config.model_dump_json().encode()).hexdigest()

    def _disk(self) -> metrics.Disk:
        usage = shutil.disk_usage(self._spool.path)
        return metrics.Disk(usage.free, usage.total, self._config.spool.min_free_bytes)

    def _models(self) -> tuple[metrics.ModelFacts, ...]:
        return tuple({facts for worker in live_workers(self._spool.path).values() for facts in worker})
