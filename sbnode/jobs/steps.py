"""The steps of a job as plain functions: each may run twice, and none raises. The queue keeps what they
return.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from time import perf_counter

from sbnode import log, metrics, pipeline
from sbnode.audit import Audit, Participant
from sbnode.config import Config, Destination, WebDestination
from sbnode.errors import (
    ConfigError,
    DeliveryError,
    DestinationRefused,
    LeftAlone,
    SbnodeError,
    SeriesError,
    StorageFull,
    UnsafeResult,
)
from sbnode.inference.selection import Choice, choose
from sbnode.jobs.hours import seconds_until
from sbnode.jobs.manifest import Manifest
from sbnode.jobs.observed import Observed
from sbnode.jobs.progress import ProgressFile
from sbnode.jobs.proof import Answer, Sent, find_proof
from sbnode.plan import judge, make_plan, receivers, settings_of
from sbnode.rules import Decision
from sbnode.scu import send, stow
from sbnode.series import Series
from sbnode.spool import Spool

__all__ = ["Outcome", "Steps", "retry_delay_s"]

Outcome = dict[str, str]
"""What a step says to the queue. ``status`` is always there; ``code`` and ``reason`` where it went wrong."""

_JITTER = 0.2


def retry_delay_s(attempt: int, first_s: float, longest_s: float, draw: float) -> float:
    """Return how long to wait after failed attempt number ``attempt`` (from 1): doubling, bounded, spread.

    ``draw`` in 0..1 spreads the delay over ±20 %, so that many deliveries don't knock at a destination in
    step.
    """
    doubled: float = min(first_s * 2.0 ** min(attempt - 1, 60), longest_s)
    return doubled * (1 + _JITTER * (2 * draw - 1))


class _Superseded(SbnodeError):
    """Another job stands for these instances: settings or models changed, or the patient or study was corrected."""

    def __init__(self, key: str) -> None:
        super().__init__(f"settings or models changed, or patient or study was corrected; see {key}")
        self.key = key


class Steps:
    """What a worker does, given the opened models.

    Args:
        config: the configuration.
        spool: where instances and results are.
        models: the opened models, as ``run`` takes them.
        run: the pipeline.
        store: sends one object to one destination by C-STORE.
        store_web: the same by STOW-RS.
        find_proof: asks a destination whether it holds what was sent.
        audit: is told what was sent; default: as ``config`` says.
        now: the local time.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        models: pipeline.Models,
        run: Callable[..., pipeline.Outcome],
        store: Callable[[Path, Destination, str], int] = send.store,
        store_web: Callable[[Path, WebDestination], int] = stow.store,
        find_proof: Callable[..., Answer] = find_proof,
        audit: Audit | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._config = config
        self._spool = spool
        self._models = models
        self._run = run
        self._store = store
        self._store_web = store_web
        self._find_proof = find_proof
        self._now = now
        self._audit = audit or Audit.open(config.audit, config.node.ae_title)
        self._destinations = {destination.name: destination for destination in config.all_destinations}
        self._observed = Observed(config, spool, self._destinations)
        self._log = log.get_logger()
        self._progress = ProgressFile(spool.path, config.queue.worker)
        self._running = 0
        self._lock = Lock()

    @property
    def running(self) -> int:
        """How many steps are being done now."""
        return self._running

    def deliveries(self, job_key: str) -> tuple[tuple[str, str], ...]:
        """Destination and object of every delivery that a job needs."""
        decision = Manifest.read(self._spool, job_key).decision
        return tuple((d.name, kind) for d in receivers(decision, self._config) for kind in d.objects)

    def choose(self, study_id: str) -> Outcome:
        """Choose the series of a study and write the manifest of its job: ``job`` holds the key.

        What the rules decide stands in that manifest, and is not decided again.
        """
        with self._doing():
            try:
                self._require_space()
                manifest = Manifest.read(self._spool, study_id)
                study = manifest.study(self._spool)
                plan = make_plan(judge(study, self._config.rules), self._config)
                key = self._job_key(plan.choice, plan.decision)
                # Anew, for a correction may have come since.
                Manifest.of(study).of_job(plan.taken, plan.choice.chosen, plan.decision).write(self._spool, key)
                decision = Manifest.read(self._spool, key).decision
            except LeftAlone as error:
                self._log.info("study_left_alone", study=study_id, reason=str(error))
                metrics.SERIES_REJECTED.labels(error.code).inc()
                return {"status": "left_alone", "code": error.code, "reason": str(error)}
            except Exception as error:
                return self._failed("study", study_id, error)
            self._log.info("series_chosen", study=study_id, job=key, why=plan.choice.why, rule=decision.rule)
            return {"status": "done", "job": key, "priority": decision.priority}

    def process(self, job_key: str) -> Outcome:
        """Make the results of a job, unless they are there already.

        A job that was named by other settings or models, or before its patient or study was corrected, is superseded:
        ``job`` holds the key of the one to do instead. One of low priority is postponed outside of its hours, by
        ``wait_s``.
        """
        with self._doing():
            started = perf_counter()
            try:
                decision = Manifest.read(self._spool, job_key).decision
                if self._spool.result_folder(job_key).exists():
                    return self._done(decision)
                if (wait_s := self._wait_s(decision)) > 0:
                    return self._postponed(job_key, wait_s)
                self._require_space()
                outcome = self._make(job_key)
            except _Superseded as found:
                self._log.info("job_superseded", job=job_key, by=found.key)
                priority = decision.priority
                return {"status": "superseded", "job": found.key, "priority": priority, "reason": str(found)}
            except Exception as error:
                return self._failed("job", job_key, error)
            self._observed.made(job_key, outcome.report)
            self._log.info("job_done", job=job_key, seconds=round(perf_counter() - started, 2))
            return self._done(decision)

    def _done(self, decision: Decision) -> Outcome:
        outcome = {"status": "done", "priority": decision.priority}
        if not receivers(decision, self._config):
            by = "no destination is configured" if decision.rule is None else f"rule {decision.rule} names none"
            outcome["reason"] = f"sent nowhere, the results are in the spool: {by}"
        return outcome

    def _make(self, job_key: str) -> pipeline.Outcome:
        """Run the pipeline and commit its results.

        Raises:
            _Superseded: another job stands for these instances now; nothing is committed.
        """
        manifest = Manifest.read(self._spool, job_key)
        study = self._current(manifest, job_key)
        with self._spool.result(job_key) as folder:
            try:
                settings = settings_of(manifest.decision, self._config)
                tell = self._progress.begin(job_key)
                return self._run(study, self._models, settings, folder, made_at=manifest.received, progress=tell)
            finally:
                self._progress.end()
                # A correction that came meanwhile may stand in some of the objects, or be why one was kept back.
                self._current(manifest, job_key)

    def _current(self, manifest: Manifest, job_key: str) -> tuple[Series, ...]:
        """Return the study of a job, unless another job stands for it now; that one's manifest is written."""
        study = manifest.study(self._spool)
        choice = choose(study, self._config.selection)
        key = self._job_key(choice, manifest.decision)
        if key != job_key:
            Manifest.of(study).of_job(study, choice.chosen, manifest.decision).write(self._spool, key)
            raise _Superseded(key)
        return study

    def deliver(self, job_key: str, destination_name: str, kind: str, released: bool = False) -> Outcome:
        """Send one object of a job, or its series of pictures, to one destination, once.

        In shadow mode it is held back instead, unless it was ``released``.
        """
        with self._doing():
            started = perf_counter()
            facts = {"job": job_key, "destination": destination_name, "object": kind}
            try:
                destination = self._destination(destination_name)
                if self._is_corrected(job_key):
                    self._observed.attempt(destination_name, kind, "superseded")
                    self._log.info("delivery_superseded", **facts)
                    return {
                        "status": "superseded",
                        "reason": "patient or study was corrected; a later job replaces this",
                    }
                if self._config.shadow and not released:
                    return self._held(job_key, destination_name, kind)
                sent, status = self._send_audited(job_key, kind, destination)
            except Exception as error:
                outcome = _fault(error)
                self._log.warning("delivery_failed", **facts, **outcome, **_place(error))
            else:
                word = send.meaning(status).value
                outcome = {"status": word, "code": f"0x{status:04X}", "sent": sent}
                self._observed.accepted(job_key, destination_name, perf_counter() - started, released=released)
                self._log.info("delivered", **facts, **outcome)
            self._observed.attempt(destination_name, outcome.get("sent", kind), outcome["status"])
            return outcome

    def _held(self, job_key: str, destination_name: str, kind: str) -> Outcome:
        self._observed.attempt(destination_name, kind, "held")
        self._log.info("delivery_held", job=job_key, destination=destination_name, object=kind)
        return {"status": "held", "reason": "shadow mode; `sbnode jobs release` sends it"}

    def confirms(self, destination_name: str) -> bool:
        """Whether what a destination accepted has to be proven."""
        destination = self._destinations.get(destination_name)
        return destination is not None and destination.confirm != "accepted"

    def prove(self, job_key: str, destination_name: str, kind: str, sending: int, number: int) -> Outcome:
        """Ask a destination, for the ``number``-th time, whether it holds what was sent it for the ``sending``-th time.

        ``waiting`` and ``unavailable`` are worth asking again later; then the time of ``confirm_within_s`` isn't up.
        """
        with self._doing():
            facts = {"job": job_key, "destination": destination_name, "object": kind}
            last = False
            try:
                destination = self._destination(destination_name)
                last = self._waited_s(number) >= destination.confirm_within_s
                outcome = self._proof(job_key, destination, kind, sending, last=last)
            except Exception as error:
                outcome = _fault(error)
                if outcome["status"] == "unavailable" and last:
                    outcome = {**outcome, "status": "failed", "reason": f"it could not be asked: {outcome['reason']}"}
                self._log.warning("proof_failed", **facts, **outcome, **_place(error))
            else:
                self._log.info("proof", **facts, **outcome)
            self._observed.asked(destination_name, kind, outcome["status"])
            return outcome

    def _proof(
        self, job_key: str, destination: Destination | WebDestination, kind: str, sending: int, *, last: bool
    ) -> Outcome:
        if destination.confirm == "accepted":
            return {"status": "unproven"}  # the setting was changed meanwhile
        calling = getattr(destination, "calling_ae_title", None) or self._config.node.ae_title
        sent = Sent.of(self._files(self._spool.result_folder(job_key), kind))
        name = f"{job_key}.{destination.name}.{kind}.{sending}"
        answer = self._find_proof(sent, destination, calling, self._spool.commitments, transaction=name, last=last)
        return {"status": answer.proof, "reason": answer.reason} if answer.reason else {"status": answer.proof}

    def _waited_s(self, number: int) -> float:
        """How long the questions before the ``number``-th one were apart, without the jitter."""
        law = self._config.queue
        return sum(retry_delay_s(n, law.first_retry_s, law.longest_retry_s, 0.5) for n in range(1, number))

    def _require_space(self) -> None:
        if self._spool.free_bytes() < self._config.spool.pause_free_bytes:
            raise StorageFull("the spool's free space is below spool.pause_free_bytes")

    def _is_corrected(self, job_key: str) -> bool:
        """Whether the results of a job stand under a patient or study that its instances no longer name."""
        return Manifest.read(self._spool, job_key).is_corrected(self._spool)

    def _job_key(self, choice: Choice, decision: Decision) -> str:
        return pipeline.job_key(choice.chosen, self._models, settings_of(decision, self._config))

    def _wait_s(self, decision: Decision) -> float:
        """How long a job has to wait for its hours."""
        hours = self._config.queue.low_priority_hours if decision.priority == "low" else None
        return seconds_until(hours, self._now())

    def _postponed(self, job_key: str, wait_s: float) -> Outcome:
        self._log.info("job_postponed", job=job_key, seconds=round(wait_s))
        reason = f"put off until {self._config.queue.low_priority_hours} (queue.low_priority_hours)"
        return {"status": "postponed", "wait_s": f"{wait_s:.1f}", "reason": reason}

    def _send_audited(self, job_key: str, kind: str, destination: Destination | WebDestination) -> tuple[str, int]:
        """As `_send`; what was sent, or refused, stands in the audit trail."""
        folder = self._spool.result_folder(job_key)
        # Read first: what was delivered must not fail for the audit trail's sake.
        study = Manifest.read(self._spool, job_key).study_instance_uid
        receiver = (
            Participant(destination.name, destination.url)
            if isinstance(destination, WebDestination)
            else Participant(destination.ae_title, destination.host)
        )
        try:
            sent, status = self._send(folder, kind, destination)
        except DeliveryError:
            self._audit.sent(receiver, study, len(self._files(folder, kind)), accepted=False)
            raise
        self._audit.sent(receiver, study, len(self._files(folder, sent)), accepted=True)
        return sent, status

    def _send(self, folder: Path, kind: str, destination: Destination | WebDestination) -> tuple[str, int]:
        """Send an object, or one after the other those of a series.

        A destination that takes no label map, and doesn't get the binary segmentation anyway, gets that instead.

        Returns:
            What was sent, and the first status that isn't success.
        """
        try:
            statuses = [self._send_one(path, destination) for path in self._files(folder, kind)]
        except DestinationRefused as error:
            if kind != "labelmap" or "seg" in destination.objects:
                raise
            self._log.info("binary_instead", destination=destination.name, **log.fault(error))
            return self._send(folder, "seg", destination)
        return kind, next((status for status in statuses if status), 0x0000)

    @staticmethod
    def _files(folder: Path, kind: str) -> tuple[Path, ...]:
        return (folder / f"{kind}.dcm", *sorted(folder.glob(f"{kind}-*.dcm")))

    def _send_one(self, path: Path, destination: Destination | WebDestination) -> int:
        if isinstance(destination, WebDestination):
            return self._store_web(path, destination)
        return self._store(path, destination, destination.calling_ae_title or self._config.node.ae_title)

    def _destination(self, name: str) -> Destination | WebDestination:
        if name not in self._destinations:
            raise ConfigError(f"destination '{name}' is no longer in the configuration")
        return self._destinations[name]

    def _failed(self, what: str, name: str, error: Exception) -> Outcome:
        outcome = _fault(error)
        if outcome["status"] == "paused":
            self._log.warning("work_paused", **{what: name}, reason=outcome["reason"])
            return outcome
        if outcome["status"] == "rejected":
            metrics.SERIES_REJECTED.labels(outcome["code"]).inc()
        if isinstance(error, UnsafeResult):
            metrics.VIEWER_CHECKS.labels("failed").inc()
        if what == "job":
            metrics.JOBS.labels(outcome["status"]).inc()
        if outcome["status"] != "rejected":
            metrics.JOB_FAILURES.labels(metrics.failure_reason(error)).inc()
        self._log.warning(f"{what}_failed", **{what: name}, **outcome, **_place(error))
        return outcome

    @contextmanager
    def _doing(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1


def _fault(error: Exception) -> Outcome:
    """Say what ``error`` means for the queue: unavailable and paused aren't final, the others are."""
    facts = log.fault(error)
    reason = facts.get("reason") or f"{facts['error']} at {facts.get('where', 'an unknown place')}"
    if isinstance(error, SeriesError):
        return {"status": "rejected", "code": error.code, "reason": reason}
    if isinstance(error, DestinationRefused):
        return {"status": "refused", "code": "refused", "reason": reason}
    if isinstance(error, DeliveryError):
        return {"status": "unavailable", "code": "unavailable", "reason": reason}
    if isinstance(error, StorageFull):
        return {"status": "paused", "code": "storage_full", "reason": reason}
    if isinstance(error, OSError):
        # A device that fails: worth waiting for.
        return {"status": "unavailable", "code": "device", "reason": f"{reason}: {error.strerror}"}
    code = type(error).__name__ if isinstance(error, SbnodeError) else "unexpected"
    return {"status": "failed", "code": code, "reason": reason}


def _place(error: Exception) -> dict[str, str]:
    return {key: value for key, value in log.fault(error).items() if key in ("error", "where")}
