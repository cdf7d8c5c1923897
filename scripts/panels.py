"""What the Grafana dashboard asks: rows of panels with their PromQL."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ROWS", "Panel", "Row"]

MET = 'outcome="met"'


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One question with its answer; ``queries`` are PromQL with the legend of each.

    ``red`` says from which value on, or below which one with ``falling``, a number is red.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    text: str = ""
    red: float | None = None
    falling: bool = False
    stacked: bool = False
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


def of(metric: str, labels: str = "") -> str:
    """Return the selector of a metric of the chosen nodes."""
    return f'{metric}{{instance=~"$instance"{f", {labels}" if labels else ""}}}'


def rate(metric: str, *by: str, labels: str = "") -> str:
    """Return how many a second, by labels."""
    return f"sum by ({', '.join(by)}) (rate({of(metric, labels)}[$__rate_interval]))"


def hourly(metric: str, *by: str, labels: str = "") -> str:
    """Return how many in the hour before, by labels; 0 where there were none."""
    return f"sum by ({', '.join(by)}) (increase({of(metric, labels)}[1h]))"


def quantile(share: float, metric: str, *by: str) -> str:
    """Return a quantile of a histogram over the hour before."""
    return f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) (rate({of(metric + '_bucket')}[1h])))"


def mean(metric: str, window: str) -> str:
    """Return the mean by scanner model."""
    total, number = (f"sum by (scanner) (increase({of(f'{metric}_{part}')}[{window}]))" for part in ("sum", "count"))
    return f"{total} / {number}"


def state(title: str, query: str, *, yes: str = "up", no: str = "down") -> Panel:
    """Return a panel that says yes in green or no in red."""
    words = {"1": yes, "0": no}
    return Panel(title=title, queries=((query, ""),), kind="stat", width=3, height=4, red=1, falling=True, words=words)


def number(title: str, query: str, *, unit: str = "short", red: float | None = None, falling: bool = False) -> Panel:
    """Return a panel with one number."""
    return Panel(
        title=title, queries=((query, ""),), kind="stat", width=3, height=4, unit=unit, red=red, falling=falling
    )


ROWS = (
    Row(
        "At a glance",
        (
            state("Node", 'min(up{job="sbnode", instance=~"$instance"})'),
            state("Worker", f"min({of('sbnode_worker_up')})"),
            state("Queue database", f"min({of('sbnode_queue_up')})"),
            state("Destinations", f"min({of('sbnode_destination_up')})", yes="all up", no="one is down"),
            number("Dead letters", f"sum({of('sbnode_dead_letters')})", red=1),
            number("In the queue", f"sum({of('sbnode_queue_depth')})"),
            number(
                "Within the objective (30 days)",
                f"sum(increase({of('sbnode_objective_total', MET)}[30d]))"
                f" / sum(increase({of('sbnode_objective_total')}[30d]))",
                unit="percentunit",
                red=0.99,
                falling=True,
            ),
            number(
                "Disk free",
                f"min({of('sbnode_disk_free_bytes')} / {of('sbnode_disk_size_bytes')})",
                unit="percentunit",
                red=0.05,
                falling=True,
            ),
        ),
    ),
    Row(
        "Receiving",
        (
            Panel(
                title="Instances by caller",
                queries=((rate("sbnode_instances_received_total", "calling_ae_title"), "{{calling_ae_title}}"),),
                unit="cps",
            ),
            Panel(
                title="Bytes by caller",
                queries=((rate("sbnode_received_bytes_total", "calling_ae_title"), "{{calling_ae_title}}"),),
                unit="Bps",
            ),
            Panel(
                title="Time to the answer of C-STORE",
                queries=tuple(
                    (quantile(share, "sbnode_receive_duration_seconds"), name)
                    for share, name in ((0.5, "half"), (0.99, "99 %"))
                ),
                unit="s",
                text="An instance is answered when it is on disk.",
            ),
            Panel(
                title="Associations by outcome, in an hour",
                queries=((hourly("sbnode_associations_total", "outcome"), "{{outcome}}"),),
            ),
            Panel(
                title="Answers by status, in an hour",
                queries=((hourly("sbnode_instances_received_total", "status"), "{{status}}"),),
                text="0x0000 stored, 0xA700 disk full, 0xA900 no CT, 0xC000 not understood, 0xC001 another image.",
            ),
            Panel(title="Series being received", queries=((f"sum({of('sbnode_open_series')})", "open series"),)),
            Panel(
                title="Series complete, by evidence, in an hour",
                queries=(
                    (hourly("sbnode_series_completed_total", "reason"), "{{reason}}"),
                    (hourly("sbnode_late_instances_total"), "late instances"),
                ),
                text="Many by idle: senders that abort, or slices that leave gaps.",
            ),
            Panel(
                title="Studies without a result, by reason, in an hour",
                queries=((hourly("sbnode_series_rejected_total", "reason"), "{{reason}}"),),
            ),
        ),
    ),
    Row(
        "Queue",
        (
            Panel(
                title="Items by stage and state",
                queries=((f"sum by (stage, state) ({of('sbnode_queue_depth')})", "{{stage}} {{state}}"),),
                stacked=True,
            ),
            Panel(
                title="Age of the oldest, by priority",
                queries=(
                    (
                        f"max by (stage, priority) ({of('sbnode_queue_oldest_age_seconds')})",
                        "{{stage}} {{priority}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                title="Dead letters",
                queries=((f"sum by (stage, destination) ({of('sbnode_dead_letters')})", "{{stage}} {{destination}}"),),
            ),
        ),
    ),
    Row(
        "Work",
        (
            Panel(
                title="Jobs by outcome, in an hour",
                queries=((hourly("sbnode_jobs_total", "outcome"), "{{outcome}}"),),
            ),
            Panel(
                title="Time of each stage (half of the jobs)",
                queries=((quantile(0.5, "sbnode_stage_duration_seconds", "stage"), "{{stage}}"),),
                unit="s",
            ),
            Panel(
                title="Inference by provider (95 %)",
                queries=((quantile(0.95, "sbnode_inference_duration_seconds", "provider"), "{{provider}}"),),
                unit="s",
            ),
            Panel(
                title="Failed attempts by reason, in an hour",
                queries=((hourly("sbnode_job_failures_total", "reason"), "{{reason}}"),),
            ),
            Panel(
                title="Findings of geometry, in an hour",
                queries=((hourly("sbnode_geometry_findings_total", "kind"), "{{kind}}"),),
            ),
            Panel(
                title="Flags of results, in an hour",
                queries=((hourly("sbnode_result_flags_total", "kind"), "{{kind}}"),),
            ),
            Panel(
                title="Starts of the worker, in an hour",
                queries=((hourly("sbnode_worker_starts_total", "instance"), "{{instance}}"),),
            ),
            Panel(
                title="Results kept back by the check for viewers, in an hour",
                queries=((hourly("sbnode_viewer_checks_total", "outcome"), "{{outcome}}"),),
            ),
        ),
    ),
    Row(
        "Delivery",
        (
            Panel(
                title="Attempts by destination and outcome, in an hour",
                queries=((hourly("sbnode_deliveries_total", "destination", "status"), "{{destination}} {{status}}"),),
            ),
            Panel(
                title="Time of an attempt (95 %)",
                queries=((quantile(0.95, "sbnode_delivery_duration_seconds", "destination"), "{{destination}}"),),
                unit="s",
            ),
            Panel(
                title="Destinations",
                queries=((f"min by (destination) ({of('sbnode_destination_up')})", "{{destination}}"),),
                text="1: it answered C-ECHO or HTTP at the last look.",
            ),
            Panel(
                title="From the last slice to acceptance",
                queries=(
                    (quantile(0.5, "sbnode_end_to_end_duration_seconds"), "half"),
                    (quantile(0.99, "sbnode_end_to_end_duration_seconds"), "99 %"),
                    (f"max({of('sbnode_objective_seconds')})", "objective"),
                ),
                unit="s",
            ),
            Panel(
                title="Objects by objective, in an hour",
                queries=((hourly("sbnode_objective_total", "outcome"), "{{outcome}}"),),
                stacked=True,
            ),
            Panel(
                title="Proofs that objects are held, in an hour",
                queries=((hourly("sbnode_proofs_total", "destination", "status"), "{{destination}} {{status}}"),),
                text="Of destinations with confirm: commitment or query.",
            ),
        ),
    ),
    Row(
        "Scans and results, by scanner model",
        (
            Panel(
                title="Slice thickness, mean of a day",
                queries=((mean("sbnode_input_slice_thickness_meters", "1d"), "{{scanner}}"),),
                unit="lengthm",
                width=6,
            ),
            Panel(
                title="Noise, mean of a day",
                queries=((mean("sbnode_input_noise_hounsfield", "1d"), "{{scanner}}"),),
                unit="suffix: HU",
                width=6,
            ),
            Panel(
                title="Bone, mean of a day",
                queries=((mean("sbnode_result_volume_liters", "1d"), "{{scanner}}"),),
                unit="litre",
                width=6,
            ),
            Panel(
                title="Inferred share, mean of a day",
                queries=((mean("sbnode_result_inferred_ratio", "1d"), "{{scanner}}"),),
                unit="percentunit",
                width=6,
            ),
        ),
    ),
    Row(
        "Machine and versions",
        (
            Panel(
                title="Free space of the spool",
                queries=(
                    (of("sbnode_disk_free_bytes"), "{{instance}} free"),
                    (of("sbnode_disk_reserved_bytes"), "{{instance}} below this, instances are refused"),
                ),
                unit="bytes",
            ),
            Panel(
                title="Days until certificates end",
                queries=(
                    (f"({of('sbnode_certificate_not_after_timestamp_seconds')} - time()) / 86400", "{{shown_to}}"),
                ),
            ),
            Panel(
                title="Software, models and configuration",
                queries=(
                    (of("sbnode_build_info"), "{{instance}}: sbnode {{version}}"),
                    (of("sbnode_model_info"), "{{instance}}: {{name}} {{version}} {{sha256}}"),
                    (of("sbnode_configuration_info"), "{{instance}}: configuration {{sha256}}"),
                ),
                text="A line that ends where another one begins is a change.",
            ),
        ),
    ),
)
