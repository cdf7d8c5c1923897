"""The numbers that a Prometheus server reads from ``/metrics``. Labels are bounded: no UID, no patient data.

The receiving process and the worker processes share their counters through files in the folder that the
variable ``PROMETHEUS_MULTIPROC_DIR`` names; prometheus_client reads it when it is first imported, so the
command line sets it before it imports anything that counts. What is a state and not a count (queue depth,
free space, model) is asked for at each scrape.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from sbnode import __version__

__all__ = [
    "ASSOCIATIONS",
    "AUDIT_SYSLOG",
    "DELIVERIES",
    "END_TO_END",
    "INSTANCES",
    "JOBS",
    "PROOFS",
    "RECEIVED_BYTES",
    "SERIES_COMPLETED",
    "SERIES_REJECTED",
    "STAGE_DURATION",
    "VIEWER_CHECKS",
    "WORKER_STARTS",
    "ModelFacts",
    "NodeState",
    "QueueState",
    "forget_dead_processes",
    "registry",
]

_Values = Mapping[tuple[str, ...], float]
_STAGE_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_END_TO_END_BUCKETS_S = (5, 10, 20, 30, 60, 90, 120, 180, 300, 600, 1800, 3600)

ASSOCIATIONS = Counter("sbnode_associations", "Associations requested by others", ["outcome"])
INSTANCES = Counter("sbnode_instances_received", "C-STORE requests answered, by DIMSE status", ["status"])
RECEIVED_BYTES = Counter("sbnode_received_bytes", "Bytes of stored instances")
SERIES_COMPLETED = Counter("sbnode_series_completed", "Series that became complete, by evidence", ["reason"])
SERIES_REJECTED = Counter("sbnode_series_rejected", "Studies that give no result, by reason", ["reason"])
JOBS = Counter("sbnode_jobs", "Jobs ended, by outcome", ["outcome"])
STAGE_DURATION = Histogram(
    "sbnode_stage_duration_seconds", "Time of one stage of one job", ["stage"], buckets=_STAGE_BUCKETS_S
)
END_TO_END = Histogram(
    "sbnode_end_to_end_duration_seconds",
    "From the last received instance of a study to its last delivered object, per destination",
    buckets=_END_TO_END_BUCKETS_S,
)
DELIVERIES = Counter("sbnode_deliveries", "Attempts to send one object, by status", ["destination", "object", "status"])
VIEWER_CHECKS = Counter(
    "sbnode_viewer_checks", "Results looked at before they are sent: would viewers show them rightly", ["outcome"]
)
PROOFS = Counter(
    "sbnode_proofs", "Times a destination was asked whether it holds an object", ["destination", "object", "status"]
)
WORKER_STARTS = Counter("sbnode_worker_starts", "Times that the worker process was started")
AUDIT_SYSLOG = Counter("sbnode_audit_syslog_records", "Audit records for the syslog server, by outcome", ["outcome"])

_COUNTED: tuple[Collector, ...] = (
    ASSOCIATIONS,
    INSTANCES,
    RECEIVED_BYTES,
    SERIES_COMPLETED,
    SERIES_REJECTED,
    JOBS,
    STAGE_DURATION,
    END_TO_END,
    DELIVERIES,
    PROOFS,
    VIEWER_CHECKS,
    WORKER_STARTS,
    AUDIT_SYSLOG,
)


@dataclass(frozen=True, slots=True)
class QueueState:
    """Work of one queue that has not ended: how many items, and the age of the oldest in seconds."""

    depth: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What identifies a model that the node uses."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState(Collector):
    """The states of the node, asked for at each scrape."""

    free_bytes: Callable[[], int]
    queues: Callable[[], Mapping[str, QueueState]]
    worker_alive: Callable[[], bool]
    models: Callable[[], Iterable[ModelFacts]]
    certificates: Callable[[], Mapping[str, float]] = dict
    """When each certificate ends, in seconds since 1970, by who is shown it."""

    def collect(self) -> Iterator[Metric]:
        """Yield one family per state."""
        yield _gauge("sbnode_build_info", "Version of sbnode", {(__version__,): 1}, ["version"])
        yield _gauge("sbnode_disk_free_bytes", "Free space in the spool", {(): self.free_bytes()})
        yield _gauge("sbnode_worker_up", "Whether the supervised worker runs", {(): self.worker_alive()})
        models: _Values = {(model.name, model.version, model.sha256): 1.0 for model in self.models()}
        yield _gauge("sbnode_model_info", "Models in use", models, ["name", "version", "sha256"])
        queues = self.queues()
        ends: _Values = {(name,): end_s for name, end_s in self.certificates().items()}
        text = "When a certificate that the node shows ends, in seconds since 1970"
        yield _gauge("sbnode_certificate_not_after_timestamp_seconds", text, ends, ["shown_to"])
        depth: _Values = {(name,): float(queue.depth) for name, queue in queues.items()}
        yield _gauge("sbnode_queue_depth", "Items waiting or running", depth, ["queue"])
        age: _Values = {(name,): queue.oldest_age_s for name, queue in queues.items()}
        yield _gauge("sbnode_queue_oldest_age_seconds", "Age of the oldest item", age, ["queue"])


def registry(state: NodeState | None = None) -> CollectorRegistry:
    """Return a registry over the counters of all processes that share them and the node's states."""
    collectors = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(collectors)  # type: ignore[no-untyped-call]
    else:
        for counted in _COUNTED:
            collectors.register(counted)
    if state is not None:
        collectors.register(state)
    return collectors


def forget_dead_processes() -> None:
    """Remove the counters of processes that have ended; like any restart, that sets their sum back."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for path in Path(folder).glob("*.db") if folder else ():
        process_id = path.stem.rpartition("_")[2]
        if process_id.isdecimal() and not _lives(int(process_id)):
            path.unlink(missing_ok=True)


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _gauge(name: str, text: str, values: _Values, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for key, value in values.items():
        family.add_metric(list(key), float(value))
    return family
