"""What is a state and not a count, asked for at each scrape: queue, disk, destinations, certificates, models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sbnode import __version__
from sbnode.metrics.counted import DESTINATION, Described
from sbnode.metrics.labels import Label

__all__ = ["STATES", "Disk", "ModelFacts", "NodeState", "QueueGroup", "QueueState"]

_Values = Mapping[tuple[str, ...], float]

_STAGE = Label("stage", "what is done there", ("study", "inference", "delivery", "proof"))
_QUEUE_LABELS = (
    _STAGE,
    Label("destination", "of deliveries and proofs; empty for the others"),
    Label("priority", "as `rules` give it; `none`: not decided yet, or a proof", ("high", "normal", "low", "none")),
)
STATES: dict[str, Described] = {
    described.name: described
    for described in (
        Described("sbnode_open_series", "gauge", "Series that are being received"),
        Described(
            "sbnode_queue_up",
            "gauge",
            "1 when the database of the queue answers, within 2 s; otherwise no other metric of the queue is exported",
        ),
        Described(
            "sbnode_queue_depth",
            "gauge",
            "Items that haven't ended",
            (
                *_QUEUE_LABELS,
                Label(
                    "state",
                    "`delayed`: put off until its hours, or until it is asked again",
                    ("waiting", "running", "delayed"),
                ),
            ),
        ),
        Described(
            "sbnode_queue_oldest_age_seconds",
            "gauge",
            "How long the oldest item has been waiting, or running; not those that were put off",
            _QUEUE_LABELS,
        ),
        Described(
            "sbnode_dead_letters",
            "gauge",
            "Items that were given up, and neither started again nor dismissed",
            (_STAGE, Label("destination", "of deliveries and proofs; empty for the others")),
        ),
        Described(
            "sbnode_dead_letter_newest_timestamp_seconds",
            "gauge",
            "When the newest of them was given up, in seconds since 1970",
            (_STAGE, Label("destination", "of deliveries and proofs; empty for the others")),
        ),
        Described("sbnode_worker_up", "gauge", "1 when a worker is ready"),
        Described(
            "sbnode_destination_up",
            "gauge",
            "1 when a destination answered C-ECHO, or HTTP, at the last look; every `monitoring.destination_check_s`",
            (DESTINATION,),
        ),
        Described("sbnode_objective_seconds", "gauge", "`monitoring.objective_s`"),
        Described("sbnode_disk_free_bytes", "gauge", "Free space in the spool"),
        Described("sbnode_disk_size_bytes", "gauge", "Size of the file system of the spool"),
        Described(
            "sbnode_disk_reserved_bytes", "gauge", "`spool.min_free_bytes`: with less free space, instances are refused"
        ),
        Described(
            "sbnode_certificate_not_after_timestamp_seconds",
            "gauge",
            "When a certificate that the node shows ends, in seconds since 1970",
            (Label("shown_to", "`node`: to senders; `archive.<name>`, `destination.<name>`, `audit.syslog`"),),
        ),
        Described(
            "sbnode_model_info",
            "gauge",
            "Models in use",
            (
                Label("name", "of the model"),
                Label("version", "of the model"),
                Label("sha256", "of model.onnx"),
            ),
        ),
        Described(
            "sbnode_configuration_info",
            "gauge",
            "The configuration in force",
            (Label("sha256", "changes with any key of it"),),
        ),
        Described("sbnode_build_info", "gauge", "The software", (Label("version", "of sbnode"),)),
    )
}
"""What the manual says of each."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Work of one queue that has not ended: how many items, and the age of the oldest in seconds."""

    depth: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueGroup:
    """Items of the queue that have these things in common: how many, and when the first and last came to this state.

    ``stage`` is study, inference, delivery or proof; ``state`` waiting, running, delayed or dead; times are seconds
    since 1970.
    """

    stage: str
    destination: str = ""
    priority: str = "none"
    state: str
    count: int
    first_at_s: float = 0.0
    last_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What identifies a model that the node uses."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Disk:
    """Space in the spool, in bytes: what is free, of how much, and below what instances are refused."""

    free_bytes: int
    size_bytes: int
    reserved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState(Collector):
    """The states of the node, asked for at each scrape. None of these functions may take long."""

    disk: Callable[[], Disk]
    queue: Callable[[], Iterable[QueueGroup] | None]
    """None: the database doesn't answer."""
    worker_alive: Callable[[], bool]
    models: Callable[[], Iterable[ModelFacts]]
    certificates: Callable[[], Mapping[str, float]] = dict
    """When each certificate ends, in seconds since 1970, by who is shown it."""
    destinations: Callable[[], Mapping[str, bool]] = dict
    """Whether each destination answered, by its name."""
    open_series: Callable[[], int] = int
    configuration: Callable[[], str] = str
    """Its SHA-256."""
    objective_s: Callable[[], float] = float
    now_s: Callable[[], float]
    """Seconds since 1970."""

    def collect(self) -> Iterator[Metric]:
        """Yield one family per state."""
        yield _gauge("sbnode_build_info", {(__version__,): 1})
        yield _gauge("sbnode_configuration_info", {(self.configuration(),): 1})
        models: _Values = {(model.name, model.version, model.sha256): 1.0 for model in self.models()}
        yield _gauge("sbnode_model_info", models)
        disk = self.disk()
        yield _gauge("sbnode_disk_free_bytes", {(): disk.free_bytes})
        yield _gauge("sbnode_disk_size_bytes", {(): disk.size_bytes})
        yield _gauge("sbnode_disk_reserved_bytes", {(): disk.reserved_bytes})
        ends: _Values = {(name,): end_s for name, end_s in self.certificates().items()}
        yield _gauge("sbnode_certificate_not_after_timestamp_seconds", ends)
        yield _gauge("sbnode_open_series", {(): self.open_series()})
        yield _gauge("sbnode_worker_up", {(): self.worker_alive()})
        up: _Values = {(name,): float(answers) for name, answers in self.destinations().items()}
        yield _gauge("sbnode_destination_up", up)
        yield _gauge("sbnode_objective_seconds", {(): self.objective_s()})
        groups = self.queue()
        yield _gauge("sbnode_queue_up", {(): groups is not None})
        if groups is not None:
            yield from _queue(tuple(groups), self.now_s())


def _queue(groups: tuple[QueueGroup, ...], now_s: float) -> Iterator[Metric]:
    depth: dict[tuple[str, ...], float] = {}
    age_s: dict[tuple[str, ...], float] = {}
    dead: dict[tuple[str, ...], float] = {}
    newest_s: dict[tuple[str, ...], float] = {}
    for group in groups:
        place = (group.stage, group.destination)
        if group.state == "dead":
            dead[place] = dead.get(place, 0.0) + group.count
            if group.count:
                newest_s[place] = max(newest_s.get(place, 0.0), group.last_at_s)
            continue
        state = (*place, group.priority, group.state)
        depth[state] = depth.get(state, 0.0) + group.count
        waited_s = max(0.0, now_s - group.first_at_s) if group.count and group.state != "delayed" else 0.0
        key = (*place, group.priority)
        age_s[key] = max(age_s.get(key, 0.0), waited_s)
    yield _gauge("sbnode_queue_depth", depth)
    yield _gauge("sbnode_queue_oldest_age_seconds", age_s)
    yield _gauge("sbnode_dead_letters", dead)
    yield _gauge("sbnode_dead_letter_newest_timestamp_seconds", newest_s)


def _gauge(name: str, values: _Values) -> GaugeMetricFamily:
    described = STATES[name]
    family = GaugeMetricFamily(name, described.text, labels=[label.name for label in described.labels])
    for key, value in values.items():
        family.add_metric(list(key), float(value))
    return family
