"""What the processes of a node count and time. `docs/metrics.md` is made from this."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from sbnode.metrics.labels import FAILURES, UNEXPECTED, Label, Labelled

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
    "PROOFS",
    "RECEIVED_BYTES",
    "RECEIVE_DURATION",
    "SERIES_COMPLETED",
    "SERIES_REJECTED",
    "SLICE_THICKNESS",
    "STAGE_DURATION",
    "VIEWER_CHECKS",
    "VOLUME",
    "WORKER_STARTS",
    "Described",
]


@dataclass(frozen=True, slots=True)
class Described:
    """What the manual says of a metric. ``name`` is as Prometheus shows it, without the suffixes of a histogram."""

    name: str
    kind: str
    text: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


CATALOGUE: list[Described] = []
"""All of them, in the order of the data's way."""


def _counter(name: str, text: str, *labels: Label) -> Labelled[Counter]:
    CATALOGUE.append(Described(f"{name}_total", "counter", text, labels))
    return Labelled(Counter(name, text, [label.name for label in labels]), labels)


def _plain_counter(name: str, text: str) -> Counter:
    CATALOGUE.append(Described(f"{name}_total", "counter", text))
    return Counter(name, text)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: Label) -> Labelled[Histogram]:
    CATALOGUE.append(Described(name, "histogram", text, labels, buckets))
    return Labelled(Histogram(name, text, [label.name for label in labels], buckets=buckets), labels)


def _plain_histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
    CATALOGUE.append(Described(name, "histogram", text, (), buckets))
    return Histogram(name, text, buckets=buckets)


_RECEIVE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_STAGE_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_DELIVERY_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_END_TO_END_S = (5, 10, 20, 30, 60, 90, 120, 180, 300, 600, 1800, 3600)
_THICKNESS_M = (0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005)
_NOISE_HU = (2, 5, 10, 20, 40, 80, 160)
_VOLUME_L = (0.01, 0.03, 0.06, 0.1, 0.15, 0.25, 0.5, 1)
_RATIO = (0.02, 0.05, 0.1, 0.15, 0.25, 0.4, 0.7)

CALLER = Label("calling_ae_title", "who sends, of `receive.calling_ae_titles` and `receive.callers`; `other`: all else")
DESTINATION = Label("destination", "name of a destination; `other`: one that is no longer configured")
OBJECT = Label("object", "what is sent", ("seg", "stl", "sr", "preview", "fine", "labelmap"))
SCANNER = Label("scanner", "Manufacturer's Model Name of the first 20 models; `other`: those after, and none")

ASSOCIATIONS = _counter(
    "sbnode_associations",
    "Associations requested by others; one that is accepted is counted again when it ends",
    CALLER,
    Label(
        "outcome",
        "what became of it",
        (
            "accepted",
            "released",
            "aborted",
            "oversized",
            "rejected_calling_ae_title",
            "rejected_called_ae_title",
            "rejected_network",
            "rejected_certificate",
            "rejected_limit",
            "rejected_caller_limit",
        ),
    ),
)
INSTANCES = _counter(
    "sbnode_instances_received",
    "C-STORE requests answered",
    CALLER,
    Label("status", "DIMSE status", ("0x0000", "0xA700", "0xA900", "0xC000", "0xC001", "0xC0FF", "0x0211")),
)
RECEIVED_BYTES = _counter("sbnode_received_bytes", "Bytes of new instances", CALLER)
RECEIVE_DURATION = _plain_histogram(
    "sbnode_receive_duration_seconds", "From a whole C-STORE request to its answer: the instance is on disk", _RECEIVE_S
)
SERIES_COMPLETED = _counter(
    "sbnode_series_completed",
    "Series that became complete",
    Label("reason", "by which evidence", ("count", "association_end", "idle")),
)
LATE_INSTANCES = _plain_counter(
    "sbnode_late_instances", "Instances that came when their study was complete already; they make another job"
)
SERIES_REJECTED = _counter(
    "sbnode_series_rejected",
    "Studies that give no result",
    Label(
        "reason",
        "why; `left_alone`: a rule says so",
        (
            "no_usable_series",
            "several_patients",
            "left_alone",
            "unsafe_geometry",
            "undecodable_pixels",
            "no_skull_base",
        ),
    ),
)
FINDINGS = _counter(
    "sbnode_geometry_findings",
    "What was odd about the geometry or the pixels of a series and was dealt with",
    Label(
        "kind",
        "which finding",
        (
            "gantry_tilt",
            "gap",
            "uneven_spacing",
            "overlap",
            "mixed_thickness",
            "no_thickness",
            "mixed_geometry",
            "several_volumes",
            "lossy_compression",
            "contrast",
        ),
    ),
)
FLAGS = _counter(
    "sbnode_result_flags",
    "What is to be looked at before a result is used",
    Label("kind", "which flag", ("coarse_scan", "soft_kernel", "metal", "motion", "cut", "mostly_inferred")),
)
JOBS = _counter(
    "sbnode_jobs",
    "Jobs ended, and attempts that failed for now",
    Label("outcome", "how; `unavailable` is tried again", ("done", "rejected", "failed", "unavailable")),
)
JOB_FAILURES = _counter(
    "sbnode_job_failures",
    "Attempts of jobs that failed for another reason than the study",
    Label("reason", "class of the error", (*FAILURES.values(), UNEXPECTED)),
)
STAGE_DURATION = _histogram(
    "sbnode_stage_duration_seconds",
    "Time of one stage of one job",
    _STAGE_S,
    Label(
        "stage",
        "of the pipeline; `deliver`: one object to one destination",
        (
            "choose",
            "read",
            "region",
            "inference",
            "threshold",
            "quality",
            "foramina",
            "segmentation",
            "surface",
            "preview",
            "deliver",
        ),
    ),
)
INFERENCE_DURATION = _histogram(
    "sbnode_inference_duration_seconds",
    "Time of the occupancy network for one job",
    _STAGE_S,
    Label("provider", "execution provider", ("cpu", "openvino", "cuda", "tensorrt")),
)
VIEWER_CHECKS = _counter(
    "sbnode_viewer_checks",
    "Results looked at before they are sent: would viewers show them rightly",
    Label("outcome", "`failed`: nothing of that job is sent", ("passed", "failed")),
)
DELIVERIES = _counter(
    "sbnode_deliveries",
    "Attempts to send one object",
    DESTINATION,
    OBJECT,
    Label(
        "status",
        "what came of it; `held`: shadow mode",
        ("delivered", "warned", "unavailable", "refused", "failed", "superseded", "held"),
    ),
)
DELIVERY_DURATION = _histogram(
    "sbnode_delivery_duration_seconds", "Time of one attempt that was accepted", _DELIVERY_S, DESTINATION
)
PROOFS = _counter(
    "sbnode_proofs",
    "Times a destination was asked whether it holds an object (storage commitment, C-FIND, QIDO-RS)",
    DESTINATION,
    OBJECT,
    Label("status", "its answer", ("proven", "waiting", "missing", "refused", "unproven", "unavailable", "failed")),
)
END_TO_END = _plain_histogram(
    "sbnode_end_to_end_duration_seconds",
    "From the last received instance of a study to the acceptance of each object of its results",
    _END_TO_END_S,
)
OBJECTIVE = _counter(
    "sbnode_objective",
    "Objects accepted by a destination within `monitoring.objective_s` of the last received instance, or not; "
    "but for those of low priority, and those that were released or sent again",
    Label("outcome", "`missed`: later, or never: each dead letter counts too", ("met", "missed")),
)
SLICE_THICKNESS = _histogram(
    "sbnode_input_slice_thickness_meters",
    "Slice Thickness or slice step, the larger, of a series",
    _THICKNESS_M,
    SCANNER,
)
NOISE = _histogram("sbnode_input_noise_hounsfield", "Noise in soft tissue as measured on the scan", _NOISE_HU, SCANNER)
VOLUME = _histogram("sbnode_result_volume_liters", "Bone in a result", _VOLUME_L, SCANNER)
INFERRED_RATIO = _histogram("sbnode_result_inferred_ratio", "Share of inferred thin bone in a result", _RATIO, SCANNER)
WORKER_STARTS = _plain_counter("sbnode_worker_starts", "Times that the worker process was started")
AUDIT_SYSLOG = _counter(
    "sbnode_audit_syslog_records",
    "Audit records for the syslog server",
    Label("outcome", "what became of them", ("sent", "dropped")),
)
