"""What the steps tell the metrics: of results and their input, of deliveries and of proofs."""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime

from sbnode import metrics
from sbnode.config import Config
from sbnode.errors import SpoolError
from sbnode.jobs.manifest import Manifest
from sbnode.results.report import Report
from sbnode.series import read_file
from sbnode.spool import Spool

__all__ = ["Observed"]


class Observed:
    """Counts with bounded labels, by the destinations and the objective of ``config``."""

    def __init__(self, config: Config, spool: Spool, destinations: Container[str]) -> None:
        self._objective_s = config.monitoring.objective_s
        self._spool = spool
        self._destinations = destinations
        self._scanners = metrics.ScannerNames(spool.path / "metrics" / "scanners.json")
        # From the start, so that the first one is seen as an increase.
        for outcome in ("met", "missed"):
            metrics.OBJECTIVE.labels(outcome)
        for destination in config.all_destinations:
            for kind in destination.objects if destination.confirm != "accepted" else ():
                metrics.PROOFS.labels(destination.name, kind, "missing")

    def made(self, job_key: str, report: Report) -> None:
        """Results were made: how long that took, and what the series and the results are like."""
        metrics.JOBS.labels("done").inc()
        metrics.VIEWER_CHECKS.labels("passed").inc()
        for stage, seconds in report.seconds.items():
            metrics.STAGE_DURATION.labels(stage).observe(seconds)
        if "inference" in report.seconds:
            provider = metrics.provider_name(report.provider)
            metrics.INFERENCE_DURATION.labels(provider).observe(report.seconds["inference"])
        for finding in report.findings:
            metrics.FINDINGS.labels(finding.code).inc()
        for flag in report.flags:
            metrics.FLAGS.labels(flag.code).inc()
        scanner = self._scanners.take(self._model_name(job_key, report))
        metrics.SLICE_THICKNESS.labels(scanner).observe(report.quality.slice_mm / 1000)
        if report.quality.noise_hu is not None:
            metrics.NOISE.labels(scanner).observe(report.quality.noise_hu)
        metrics.VOLUME.labels(scanner).observe(report.volume_ml / 1000)
        metrics.INFERRED_RATIO.labels(scanner).observe(report.inferred_share)

    def accepted(self, job_key: str, destination: str, seconds: float, *, released: bool) -> None:
        """A destination accepted an object of a job, in an attempt of so many seconds.

        What waited because somebody wanted it to, as it was held back or is of low priority, says nothing of the node's
        own pace.
        """
        metrics.STAGE_DURATION.labels("deliver").observe(seconds)
        metrics.DELIVERY_DURATION.labels(self._bounded(destination)).observe(seconds)
        manifest = Manifest.read(self._spool, job_key)
        if released or manifest.decision.priority == "low":
            return
        waited_s = (datetime.now(UTC) - manifest.received).total_seconds()
        metrics.END_TO_END.observe(waited_s)
        metrics.OBJECTIVE.labels("met" if waited_s <= self._objective_s else "missed").inc()

    def attempt(self, destination: str, kind: str, status: str) -> None:
        """A destination was sent an object, with this outcome."""
        metrics.DELIVERIES.labels(self._bounded(destination), kind, status).inc()

    def asked(self, destination: str, kind: str, status: str) -> None:
        """A destination was asked whether it holds an object, with this outcome."""
        metrics.PROOFS.labels(self._bounded(destination), kind, status).inc()

    def _bounded(self, destination: str) -> str:
        return metrics.bounded(destination, self._destinations)

    def _model_name(self, job_key: str, report: Report) -> str:
        """Manufacturer's Model Name (0008,1090) of the series that was taken; empty where it has none or is gone."""
        try:
            study = Manifest.read(self._spool, job_key).study(self._spool)
            paths = [one.first.path for one in study if one.key.series_instance_uid == report.series_instance_uid]
            return str(read_file(paths[0]).get("ManufacturerModelName") or "") if paths else ""
        except (SpoolError, ValueError):
            return ""
