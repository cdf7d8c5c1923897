"""The sums over the files of several processes, as prometheus_client's own collector has them, at less cost.

The files are those of prometheus_client: keys in JSON with a number each. What a key means doesn't change, so it is
read once and not for each scrape and process; numbers with the same key are added before anything is made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.utils import floatToGoString

from sbnode.metrics.files import read, set_aside

__all__ = ["Sums"]

_LabelPairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Key:
    """What a key of a file names: a sample, and of a bucket its upper bound."""

    family: str
    text: str
    sample: str
    labels: _LabelPairs
    bound: float | None


class Sums:
    """Adds up counters and histograms; keeps what their keys mean, as many as bounded labels allow."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def families(self, files: Iterable[Path]) -> Iterator[Metric]:
        """Return what stands in ``files``, each named ``counter_...`` or ``histogram_...``; sets aside what is none."""
        sums: dict[str, dict[str, float]] = {"counter": {}, "histogram": {}}
        for path in files:
            try:
                numbers, found_there = sums[path.name.partition("_")[0]], read(path)
                for name, _ in found_there:
                    self._read(name)
            except (KeyError, TypeError, ValueError):
                set_aside(path)
                continue
            for name, value in found_there:
                numbers[name] = numbers.get(name, 0.0) + value
        found: dict[str, Metric] = {}
        for kind, numbers in sums.items():
            buckets: dict[tuple[str, _LabelPairs], dict[float, float]] = {}
            for name, value in numbers.items():
                key = self._read(name)
                if key.family not in found:
                    found[key.family] = Metric(key.family, key.text, kind)
                if key.bound is None:
                    found[key.family].add_sample(key.sample, dict(key.labels), value)
                else:
                    buckets.setdefault((key.family, key.labels), {})[key.bound] = value
            for (family, labels), counts in buckets.items():
                _add_buckets(found[family], labels, counts)
        yield from found.values()

    def _read(self, key: str) -> _Key:
        known = self._keys.get(key)
        if known is None:
            family, sample, labels, text = json.loads(key)
            bound = labels.pop("le", None)
            pairs = tuple(sorted(labels.items()))
            known = self._keys[key] = _Key(family, text, sample, pairs, None if bound is None else float(bound))
        return known


def _add_buckets(family: Metric, labels: _LabelPairs, counts: dict[float, float]) -> None:
    """Prometheus wants each bucket to hold those below it too, and their number."""
    total = 0.0
    for bound, count in sorted(counts.items()):
        total += count
        family.add_sample(f"{family.name}_bucket", {**dict(labels), "le": floatToGoString(bound)}, total)  # type: ignore[no-untyped-call]
    family.add_sample(f"{family.name}_count", dict(labels), total)
