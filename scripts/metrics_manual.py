"""Write docs/metrics.md, what ``/metrics`` exports, from the code: metrics_manual.py OUTPUT."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from sbnode.metrics import CATALOGUE, STATES, Described

_HEAD = """# Metrics

Written by `make metrics` from `sbnode/metrics/`; don't edit it. How to use them: [monitoring.md](monitoring.md).

`/metrics` on `status.host`:`status.port` has what is below. Names follow Prometheus' rules: base units, `_total` for
counters. Labels are bounded: no UID, no patient data, and nobody outside adds a time series. What isn't among a label's
values is `other`.

Counters are those of all processes of the node. They begin again at 0 when `sbnode serve` starts, which `rate` and
`increase` take into account; what a worker that died has counted stays. A label combination is exported from its first
use; callers (`sbnode_received_bytes_total`) and outcomes of the objective are there from the start, as 0.

Histograms have fixed buckets: Prometheus' native histograms can't be had, for its Python client (prometheus_client) has
none, let alone shared by several processes. `_bucket`, `_sum` and `_count` come after the names below.

States are asked for at each scrape. When the database of the queue doesn't answer within 2 s, `sbnode_queue_up` is 0,
the other metrics of the queue are missing, and all else is there.
"""


def text() -> str:
    """Return the content of the file."""
    states = [line for metric in STATES.values() for line in _entry(metric)]
    counted = [line for metric in CATALOGUE for line in _entry(metric)]
    return "\n".join((_HEAD, "## States", "", *states, "## Counters and histograms", "", *counted))


def _entry(metric: Described) -> Iterator[str]:
    yield f"### `{metric.name}`"
    yield ""
    yield f"{metric.kind.capitalize()}. {metric.text}."
    yield ""
    for label in metric.labels:
        yield f"* `{label.name}`: {label.meaning}"
        if label.values:
            yield f"  ({', '.join(f'`{value}`' for value in label.values)})"
    if metric.buckets:
        yield f"* buckets up to {', '.join(f'{bound:g}' for bound in metric.buckets)}, and above"
    if metric.labels or metric.buckets:
        yield ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
