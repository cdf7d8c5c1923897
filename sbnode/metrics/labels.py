"""Labels whose values are bounded: what isn't expected becomes ``other``, so that nobody outside adds a time series.

No label holds a UID or patient data. A label with closed values takes only those; the values of the others come from
the configuration, or from `sbnode.metrics.scanners`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

from sbnode.errors import ConfigError, ModelError, SpoolError, UnsafeResult

__all__ = ["FAILURES", "OTHER", "Label", "Labelled", "bounded", "failure_reason", "provider_name"]

OTHER = "other"
"""Any value that isn't known."""

M = TypeVar("M", Counter, Histogram)


def bounded(value: str, known: Container[str]) -> str:
    """Return ``value`` where it is known, else ``other``."""
    return value if value in known else OTHER


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a label, what it means, and its values; without values, they come from elsewhere and are few."""

    name: str
    meaning: str
    values: tuple[str, ...] = ()

    def take(self, value: str) -> str:
        """Return the value that is exported for ``value``."""
        return bounded(value, self.values) if self.values else value


class Labelled(Generic[M]):
    """A metric with labels, each of which takes its own values only."""

    def __init__(self, family: M, labels: tuple[Label, ...]) -> None:
        self.family: M = family
        self.named = labels

    def labels(self, *values: str) -> M:
        """Return the metric for these values, in the order of its labels. From then on it is exported, first as 0."""
        taken = (label.take(value) for label, value in zip(self.named, values, strict=True))
        child: M = self.family.labels(*taken)
        return child


FAILURES: dict[type[Exception], str] = {
    MemoryError: "out_of_memory",
    UnsafeResult: "unsafe_result",
    ModelError: "model",
    SpoolError: "spool",
    ConfigError: "configuration",
    OSError: "device",
}
"""Classes of what makes a job fail; whatever else is a fault that nobody foresaw."""
UNEXPECTED = "unexpected"


def failure_reason(error: BaseException) -> str:
    """Return the class of an error that made a job fail."""
    return next((reason for kind, reason in FAILURES.items() if isinstance(error, kind)), UNEXPECTED)


def provider_name(execution_provider: str) -> str:
    """Return the name of an execution provider as ``execution.provider`` has it: CPUExecutionProvider is cpu."""
    return execution_provider.removesuffix("ExecutionProvider").lower()
