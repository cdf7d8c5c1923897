"""The numbers that a Prometheus server reads from ``/metrics``. Labels are bounded: no UID, no patient data.

The receiving process and the worker processes share their counters (`sbnode.metrics.shared`), for which the command
line sets ``PROMETHEUS_MULTIPROC_DIR`` before it imports anything that counts. States are asked for at each scrape
(`sbnode.metrics.state`).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.registry import Collector

# First of all: it decides where counters are kept.
from sbnode.metrics import shared  # isort: skip
from sbnode.metrics import counted
from sbnode.metrics.counted import (
    ASSOCIATIONS,
    AUDIT_SYSLOG,
    CATALOGUE,
    DELIVERIES,
    DELIVERY_DURATION,
    END_TO_END,
    FINDINGS,
    FLAGS,
    INFERENCE_DURATION,
    INFERRED_RATIO,
    INSTANCES,
    JOB_FAILURES,
    JOBS,
    LATE_INSTANCES,
    NOISE,
    OBJECTIVE,
    PROOFS,
    RECEIVE_DURATION,
    RECEIVED_BYTES,
    SERIES_COMPLETED,
    SERIES_REJECTED,
    SLICE_THICKNESS,
    STAGE_DURATION,
    VIEWER_CHECKS,
    VOLUME,
    WORKER_STARTS,
    Described,
)
from sbnode.metrics.labels import OTHER, Labelled, bounded, failure_reason, provider_name
from sbnode.metrics.scanners import ScannerNames
from sbnode.metrics.shared import add_up_dead_processes, forget_dead_processes
from sbnode.metrics.state import STATES, Disk, ModelFacts, NodeState, QueueGroup, QueueState

__all__ = [
    "ASSOCIATIONS",
    "AUDIT_SYSLOG",
    "CATALOGUE",
    "DELIVERIES",
    "DELIVERY_DURATION",
    "END_TO_END",
    "FINDINGS",
    "FLAGS",
    "INFERENCE_DURATION",
    "INFERRED_RATIO",
    "INSTANCES",
    "JOBS",
    "JOB_FAILURES",
    "LATE_INSTANCES",
    "NOISE",
    "OBJECTIVE",
    "OTHER",
    "PROOFS",
    "RECEIVED_BYTES",
    "RECEIVE_DURATION",
    "SERIES_COMPLETED",
    "SERIES_REJECTED",
    "SLICE_THICKNESS",
    "STAGE_DURATION",
    "STATES",
    "VIEWER_CHECKS",
    "VOLUME",
    "WORKER_STARTS",
    "Described",
    "Disk",
    "ModelFacts",
    "NodeState",
    "QueueGroup",
    "QueueState",
    "ScannerNames",
    "add_up_dead_processes",
    "bounded",
    "failure_reason",
    "forget_dead_processes",
    "provider_name",
    "registry",
]


def registry(state: NodeState | None = None) -> CollectorRegistry:
    """Return a registry over the counters of all processes that share them and the node's states."""
    return shared.registry(_counted(), state)


def _counted() -> tuple[Collector, ...]:
    """The counters and histograms of this process."""
    families = (value.family if isinstance(value, Labelled) else value for value in vars(counted).values())
    return tuple(family for family in families if isinstance(family, Counter | Histogram))
