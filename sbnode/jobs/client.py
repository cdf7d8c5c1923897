"""The other side of the queue: putting studies in, looking at what is in it, starting again what failed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions, WorkflowStatus
from dbos import error as dbos_error
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from sbnode.config import Config
from sbnode.errors import ConfigError, QueueUnavailable, SpoolError
from sbnode.jobs import dismissal, queues
from sbnode.jobs.census import Census
from sbnode.jobs.manifest import Manifest
from sbnode.metrics import QueueGroup, QueueState
from sbnode.series import Series
from sbnode.spool import Spool

__all__ = ["DISMISSED", "FAULTS", "RETRIED", "Item", "JobClient", "Standing"]

FAULTS = ("dead letter", "rejected")
"""States of what went wrong."""
DISMISSED = "dismissed"
"""The state of a fault that somebody put away on purpose."""
RETRIED = (*FAULTS, "left alone")
"""States from which an item can be started again: after a repair, or after a setting was changed."""

_STATES = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "dead letter",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "dead letter",
    "CANCELLED": "cancelled",
}
_DEAD = [status for status, state in _STATES.items() if state == "dead letter"]
_ENDS = {"rejected": "rejected", "left_alone": "left alone", "held": "held back"}
"""States that a workflow which succeeded names itself."""
_GOING_ON = ("queued", "running")
_LOOKED_THROUGH = 50
"""So many of the newest deliveries are looked through for one that was sent."""
_OPEN = ["ENQUEUED", "DELAYED", "PENDING"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One study, job or delivery as the queue sees it."""

    id: str
    kind: str
    """study, process, deliver or prove."""
    state: str
    """queued, running, done, held back, rejected, left alone, dead letter, dismissed or cancelled."""
    queue: str
    reason: str
    job: str
    """The key of the job it belongs to; empty for a study without one."""
    created_at: datetime
    updated_at: datetime
    ended_at_ms: int = 0
    """When it ended, in milliseconds since 1970; 0 while it hasn't."""

    @property
    def destination(self) -> str:
        """Name of the destination of a delivery or proof; else empty."""
        return self.id.split(".")[1] if self.kind in ("deliver", "prove") else ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a study is, with its jobs and deliveries."""

    state: Literal["open", "dead letter", "done", "unknown"]
    """What was dismissed counts as done."""
    dismissed_s: float = 0.0
    """When something of it was dismissed last, in seconds since 1970."""


class JobClient:
    """A process that puts work into the queue and takes none out.

    Raises:
        ConfigError: ``queue.url`` names no database that can be used.
        QueueUnavailable: the database doesn't answer, or can't be written.
    """

    def __init__(self, config: Config, spool: Spool) -> None:
        self._spool = spool
        self._queues = queues.names(config)
        url = queues.database_url(config)
        try:
            DBOS.migrate(url)
            self._client = DBOSClient(
                system_database_url=url,
                serializer=DBOSPortableJSONSerializer(),
                application_name=queues.APPLICATION,
            )
            self._census = Census(url)
        except OperationalError as error:
            raise QueueUnavailable(
                "queue.url: the database of the queue doesn't answer, or can't be written"
            ) from error
        except Exception as error:
            # SQLAlchemy, its drivers and DBOS have no common error for a database that can't be used.
            raise ConfigError(
                f"queue.url: the database of the queue can't be opened ({type(error).__name__})"
            ) from error

    def use(self, config: Config) -> None:
        """Name the queues of ``config`` from now on."""
        self._queues = queues.names(config)

    def submit(self, study: Sequence[Series], *, again: bool = False) -> str:
        """Queue a complete study and return its id; the same instances again change nothing.

        With ``again``, its job is done once more if it ended without results.
        """
        manifest = Manifest.of(study)
        manifest.write(self._spool, manifest.study_id)
        options: EnqueueOptions = {
            "workflow_name": "study",
            "queue_name": queues.STUDY,
            "workflow_id": manifest.study_id,
            "app_version": queues.WORKFLOWS_VERSION,
        }
        self._client.enqueue(options, manifest.study_id, again)
        return manifest.study_id

    def census(self) -> tuple[QueueGroup, ...]:
        """Return how much is in the queue, counted by the database; also what was given up.

        Raises:
            QueueUnavailable: the database doesn't answer.
        """
        return self._census.groups(self._queues)

    def queues(self) -> dict[str, QueueState]:
        """Return how much is waiting or running in each queue, and for how long."""
        found: dict[str, QueueState] = {}
        now_s = time.time()
        for group in self.census():
            if group.state == "dead":
                continue
            name = f"{group.stage}.{group.destination}".removesuffix(".")
            before = found.get(name, QueueState(0, 0.0))
            age_s = max(0.0, now_s - group.first_at_s) if group.count else 0.0
            found[name] = QueueState(before.depth + group.count, max(before.oldest_age_s, age_s))
        return found

    def left_over(self) -> tuple[str, ...]:
        """Return the queues in which something waits for a destination that is no longer configured."""
        return tuple(
            sorted(name for name in self.queues().keys() - set(self._queues) if queues.is_of_destination(name))
        )

    def in_hand(self) -> dict[str, set[str]]:
        """Return the ids of what was begun and hasn't ended, by the name of the worker.

        Raises:
            QueueUnavailable: the database doesn't answer.
        """
        try:
            items = self._client.list_workflows(status="PENDING", load_input=False, load_output=False)
        except SQLAlchemyError as error:
            raise QueueUnavailable("the database of the queue doesn't answer") from error
        found: dict[str, set[str]] = {}
        for item in items:
            if item.executor_id:
                found.setdefault(item.executor_id, set()).add(item.workflow_id)
        return found

    def items(self, limit: int | None = None) -> list[Item]:
        """Return what the queue holds and held, newest first."""
        return [_item(status) for status in self._client.list_workflows(sort_desc=True, limit=limit)]

    def dead_letters(self) -> list[Item]:
        """Return what was given up and nobody dismissed, oldest first."""
        return [item for item in self._given_up() if item.state != DISMISSED]

    def faults(self, limit: int) -> list[Item]:
        """Return what was given up, rejected or dismissed; of rejected studies and jobs those among the newest
        ``limit`` that ended.
        """
        found = self._client.list_workflows(
            name=["study", "process"], status="SUCCESS", sort_desc=True, limit=limit, load_input=False
        )
        rejected = [item for item in map(_item, found) if item.state in (*FAULTS, DISMISSED)]
        return [*self._given_up(), *rejected]

    def _given_up(self) -> list[Item]:
        return [_item(status) for status in self._client.list_workflows(status=_DEAD, load_input=False)]

    def deliveries(self, job_keys: Sequence[str]) -> list[Item]:
        """Return the deliveries of jobs, with their questions of proof."""
        prefixes = [f"{key}." for key in job_keys]
        found = self._client.list_workflows(workflow_id_prefix=prefixes, load_input=False) if prefixes else []
        return [item for item in map(_item, found) if item.kind in ("deliver", "prove")]

    def open_items(self) -> list[Item]:
        """Return what is waiting or running, oldest first."""
        return [_item(status) for status in self._client.list_workflows(status=_OPEN, load_input=False)]

    def last_delivery(self, destination: str) -> Item | None:
        """Return the newest delivery to a destination that succeeded; None where there is none."""
        found = self._client.list_workflows(
            status="SUCCESS",
            queue_name=queues.delivery(destination),
            sort_desc=True,
            limit=_LOOKED_THROUGH,
            load_input=False,
        )
        return next(map(_item, filter(_was_sent, found)), None)

    def last_attempt(self, item_id: str) -> dict[str, str]:
        """Return what the newest attempt of something that is being done said; empty before the first has ended.

        Of a delivery that waits for its next attempt, ``reason`` says why.
        """
        outputs = [step["output"] for step in self._client.list_workflow_steps(item_id)]
        said = [output for output in outputs if isinstance(output, dict) and "status" in output]
        return {str(key): str(value) for key, value in said[-1].items()} if said else {}

    def delivers_since(self, destination: str, moment: datetime) -> bool:
        """Return whether an object was delivered to ``destination`` after ``moment``."""
        found = self._client.list_workflows(
            status="SUCCESS",
            queue_name=queues.delivery(destination),
            completed_after=moment.isoformat(),
            load_input=False,
        )
        return any(map(_was_sent, found))

    def find(self, prefix: str) -> list[Item]:
        """Return the items whose id begins with ``prefix``, and those of the studies' jobs among them, oldest first."""
        found = {status.workflow_id: _item(status) for status in self._prefixed(prefix)}
        for job in {item.job for item in found.values() if item.kind == "study" and item.job}:
            found.update({status.workflow_id: _item(status) for status in self._prefixed(job)})
        return sorted(found.values(), key=lambda item: item.created_at)

    def retry(self, prefix: str, *, dismissed: bool = False) -> list[str]:
        """Start what ``find`` returns and what ended without a result again from its beginning; return the ids.

        An object that a destination didn't prove to hold is sent again. What was dismissed is started when ``prefix``
        is its whole id, or with ``dismissed``.
        """
        return [
            started
            for item in self.find(prefix)
            if item.state in RETRIED or (item.state == DISMISSED and (dismissed or item.id == prefix))
            for started in self._again(item)
        ]

    def retry_dead(self, destination: str | None = None, *, dismissed: bool = False) -> list[str]:
        """Start every dead letter again, or those of one destination, as ``retry`` does; return the ids.

        With ``dismissed``, those too that were dismissed.
        """
        letters = self._given_up() if dismissed else self.dead_letters()
        found = [item for item in letters if destination in (None, item.destination)]
        return [started for item in found for started in self._again(item)]

    def dismiss(self, items: Iterable[Item], reason: dismissal.Reason) -> list[Item]:
        """Put away those of ``items`` that are dead letters or rejected still; return them as they were.

        They call for nobody any more, stay listed, and are deleted with their study as what is done. Whatever starts
        one again ends that. What somebody else dismissed or started meanwhile isn't among what is returned.
        """
        put_away = []
        for item in self._now(item.id for item in items if item.state in FAULTS):
            if item.state not in FAULTS:
                continue
            note = dismissal.note(item.ended_at_ms, reason)
            self._client.update_workflow_attributes(item.id, note, merge=True)
            found = self._client.list_workflows(workflow_ids=[item.id], load_input=False, load_output=False)
            if any(dismissal.is_noted(status, note) for status in found):
                put_away.append(item)
        return put_away

    def _now(self, names: Iterable[str]) -> Iterator[Item]:
        """Return items as they are when each is asked for; not those that are gone."""
        for name in names:
            yield from map(_item, self._client.list_workflows(workflow_ids=[name], load_input=False))

    def redo(self, prefix: str) -> list[str]:
        """Choose and process again, with what then is configured, the studies of what ``find`` returns.

        With other settings, models or rules this makes new jobs. What they name as before stays as it is if it has
        results, and is done once more if it ended without.

        Returns:
            the ids of the studies, as they now are in the spool; those that wait or run already among them.

        Raises:
            SpoolError: instances of one are no longer in the spool.
        """
        names = {item.id if item.kind == "study" else item.job for item in self.find(prefix)}
        uids = sorted({Manifest.read(self._spool, name).study_instance_uid for name in names if name})
        return [self._redo(self._spool.series(uid)) for uid in uids]

    def _redo(self, study: Sequence[Series]) -> str:
        if not study:
            raise SpoolError("the instances of the study are no longer in the spool; send them again")
        study_id = Manifest.of(study).study_id
        known = self._client.list_workflows(workflow_ids=[study_id], load_input=False, load_output=False)
        # Anew rather than rewound, which would keep the arguments. Its job is left to the worker, who knows which it
        # is now: one that other settings replace would give results beside those of the new one.
        self._client.delete_workflows([one.workflow_id for one in known if _STATES[one.status] not in _GOING_ON])
        return self.submit(study, again=True)

    def held(self, prefix: str = "") -> list[Item]:
        """Return what shadow mode held back: all, or of what ``find`` returns; oldest first."""
        return [item for item in (self.find(prefix) if prefix else self.items()[::-1]) if item.state == "held back"]

    def current_jobs(self) -> set[str]:
        """Return the job that each study names now: not those of fewer slices, or of settings that were tried before.

        A study that is being chosen again, or was rejected, names none.
        """
        found = self._client.list_workflows(name=["study", "process"], load_input=False)
        handed_on = {item.job: _successor(status) for status in found if (item := _item(status)).kind == "process"}
        named: dict[str, str] = {}
        for item in map(_item, found):  # oldest first
            if item.kind == "study":
                with suppress(SpoolError):
                    named[Manifest.read(self._spool, item.id).study_instance_uid] = item.job
        return {_last(job, handed_on) for job in named.values() if job}

    def jobs(self, prefix: str) -> list[str]:
        """Return the keys of the jobs among what ``find`` returns whose results are in the spool."""
        keys = dict.fromkeys(item.job for item in self.find(prefix) if item.job)
        return [key for key in keys if self._spool.result_folder(key).exists()]

    def has_made(self, job_key: str, kind: str) -> bool:
        """Return whether the results of a job in the spool hold this object."""
        return (self._spool.result_folder(job_key) / f"{kind}.dcm").exists()

    def send(self, job_key: str, destination: str, kind: str) -> str | None:
        """Send an object of a job to a destination, in shadow mode too, whatever became of it there before.

        What was held back or given up, dismissed or not, is replaced by this; so are proofs that failed.

        Returns:
            the id of the delivery; None when one is on its way already.
        """
        before = self._attempts(job_key, destination, kind)
        if any(item.state in _GOING_ON for item in before if item.kind == "deliver"):
            return None
        number = max((queues.sending_number(item.id) for item in before), default=0) + 1
        sent = self._enqueue_delivery(f"{job_key}.{destination}.{kind}", number)
        # The proofs too that failed: whether the destination holds the object is for the new one to say.
        self._client.delete_workflows([item.id for item in before if item.state not in ("done", *_GOING_ON)])
        return sent

    def _attempts(self, job_key: str, destination: str, kind: str) -> list[Item]:
        """Return every sending of an object and every proof that was asked for, of what was sent in its place too."""
        found = self._prefixed(f"{job_key}.{destination}.")
        sendings = [one for one in found if one.name == "deliver" and _kind(one) == kind]
        kinds = {kind, *(str(one.output.get("sent", kind)) for one in sendings if isinstance(one.output, dict))}
        return [*map(_item, sendings), *(_item(one) for one in found if one.name == "prove" and _kind(one) in kinds)]

    def _enqueue_delivery(self, name: str, number: int) -> str:
        """Queue a delivery that shadow mode doesn't hold back: somebody asked for it, or it was sent before."""
        job_key, destination, kind = name.split(".")
        workflow_id = queues.sending(name, number)
        options: EnqueueOptions = {
            "workflow_name": "deliver",
            "queue_name": queues.delivery(destination),
            "workflow_id": workflow_id,
            "app_version": queues.WORKFLOWS_VERSION,
        }
        self._client.enqueue(options, job_key, destination, kind, number, True)
        return workflow_id

    def _again(self, item: Item) -> list[str]:
        """Return the id of what was started; none where somebody else started it meanwhile, or it is gone."""
        return self._send_again(item) if item.kind == "prove" else self._rewind(item)

    def _rewind(self, item: Item) -> list[str]:
        # Not item.queue: DBOS forgets the queue of what it gave up for killing its worker.
        queue = {"study": queues.STUDY, "process": queues.INFERENCE}.get(item.kind) or queues.delivery(item.destination)
        if item.state == DISMISSED:
            self._client.update_workflow_attributes(item.id, None)
        try:
            self._client.rewind_workflow(item.id, queue_name=queue, application_version=queues.WORKFLOWS_VERSION)
        except dbos_error.DBOSException:
            return []  # its two reasons: it runs, or is gone
        return [item.id]

    def _send_again(self, item: Item) -> list[str]:
        """Send anew what a destination doesn't hold; asking it again would only give the same answer."""
        sent = self.send(*item.id.split(".")[:3])
        return [] if sent is None else [sent]

    def standing(self, names: Sequence[str]) -> Standing:
        """Return how far everything whose id begins with one of ``names`` is."""
        found = self._client.list_workflows(workflow_id_prefix=list(names), load_input=False, load_output=False)
        dismissed = [status for status in found if dismissal.reason_of(status) is not None]
        left = {_STATES[status.status] for status in found if status not in dismissed}
        # Nothing changes what was dismissed until it is started again.
        dismissed_s = max((_time(status.updated_at).timestamp() for status in dismissed), default=0.0)
        if not found:
            return Standing("unknown")
        if left & {*_GOING_ON}:
            return Standing("open", dismissed_s)
        return Standing("dead letter" if "dead letter" in left else "done", dismissed_s)

    def forget(self, names: Sequence[str]) -> None:
        """Delete everything whose id begins with one of ``names``."""
        found = self._client.list_workflows(workflow_id_prefix=list(names), load_input=False, load_output=False)
        self._client.delete_workflows([status.workflow_id for status in found])

    def close(self) -> None:
        """Close the connections to the database."""
        self._client.destroy()
        self._census.close()

    def _prefixed(self, prefix: str) -> list[WorkflowStatus]:
        return self._client.list_workflows(workflow_id_prefix=prefix)


def _was_sent(delivery: WorkflowStatus) -> bool:
    """Whether a delivery that ended well was sent: one may be held back, or needless after a correction."""
    return isinstance(delivery.output, dict) and delivery.output.get("status") in ("delivered", "warned")


def _item(status: WorkflowStatus) -> Item:
    output = status.output if isinstance(status.output, dict) else {}
    state = _ENDS.get(str(output.get("status")), _STATES[status.status])
    # A question is done whatever the answer was: say which.
    answer = str(output.get("status", "")) if status.name == "prove" else ""
    reason = str(output.get("reason", answer))
    if status.error is not None:
        reason = str(status.error)
    elif status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        reason = "the worker died each time it tried"
    why = dismissal.reason_of(status)
    if why is not None:
        state, reason = DISMISSED, f"{why} ({state}: {reason})"
    return Item(
        id=status.workflow_id,
        kind=status.name,
        state=state,
        queue=status.queue_name or "",
        reason=reason,
        job=output.get("job", "") if status.name == "study" else status.workflow_id.split(".")[0],
        created_at=_time(status.created_at),
        updated_at=_time(status.updated_at),
        ended_at_ms=status.completed_at or 0,
    )


def _kind(status: WorkflowStatus) -> str:
    """Return the object that a delivery or proof is about."""
    return status.workflow_id.split(".")[2]


def _successor(status: WorkflowStatus) -> str:
    """Return the key of the job that one was handed on to; empty where it wasn't."""
    output = status.output if isinstance(status.output, dict) else {}
    return str(output["job"]) if output.get("status") == "superseded" else ""


def _last(job: str, handed_on: Mapping[str, str]) -> str:
    """Follow ``handed_on`` from ``job``, once around at most."""
    seen: set[str] = set()
    while handed_on.get(job) and job not in seen:
        seen.add(job)
        job = handed_on[job]
    return job


def _time(epoch_ms: int | None) -> datetime:
    return datetime.fromtimestamp((epoch_ms or 0) / 1000, UTC)
