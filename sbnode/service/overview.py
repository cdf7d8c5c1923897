"""Gathering what the status page shows, from the receiver, the spool, the workers' files and the queue.

The page must stay up whatever is down: the queue is asked in a thread of its own, and given up for the moment when it
doesn't answer in time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Lock
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from sbnode import __version__, log
from sbnode.audit import Audit, Participant
from sbnode.config import Config, Destination, WebDestination
from sbnode.errors import QueueBusy, QueueUnavailable, SpoolError
from sbnode.jobs import queues
from sbnode.jobs.client import DISMISSED, Item, JobClient
from sbnode.jobs.dismissal import REASONS, Reason
from sbnode.jobs.lease import live_workers
from sbnode.jobs.manifest import Manifest
from sbnode.jobs.progress import read_progress
from sbnode.metrics import QueueState
from sbnode.scp.server import Receiver
from sbnode.service.look import Answer
from sbnode.service.recent import recent_results, with_deliveries
from sbnode.spool import Spool
from sbnode.status import PageSource, words
from sbnode.status import overview as shown

__all__ = ["Gatherer"]

_FRESH_S = 1.0
"""So long one overview serves all who look."""
_QUEUE_S = 3.0
"""So long the queue may take to answer."""
_STILL_S = 0.1
"""The same, once it did not."""
_CHANGE_S = 10.0
_RESULTS = 8
_LOOKED_AT = 200
"""Among so many studies and jobs that ended last, rejected ones are looked for."""
_STAGES = tuple(words.STAGES)
_EMPTY = QueueState(0, 0.0)


class Gatherer:
    """Makes the overview, and does what the page is asked to do.

    Args:
        config: the configuration in force.
        spool: where results are.
        queue: is asked, and told what to start again.
        receiver: says what is on its way.
        audit: is told what people fetch and start again.
        certificates: says when each certificate that the node shows ends, in seconds since 1970.
        with_worker: whether a worker is to be there.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        queue: JobClient,
        receiver: Receiver,
        audit: Audit,
        certificates: Callable[[], Mapping[str, float]],
        *,
        with_worker: bool,
    ) -> None:
        self._config, self._spool, self._queue = config, spool, queue
        self._receiver, self._audit, self._with_worker = receiver, audit, with_worker
        self._certificates = certificates
        self._lock = Lock()
        self._last: shown.Overview | None = None
        self._last_s = float("-inf")
        self._asking: Answer[tuple[shown.Queue, list[Item]]] | None = None
        self._changing: Answer[int] | None = None
        self._change_lock = Lock()

    def use(self, config: Config) -> None:
        """Show what ``config`` names from now on."""
        self._config = config

    def source(self) -> PageSource:
        """Return what the page is made of."""
        return PageSource(
            overview=self.overview,
            result_folder=self._spool.result_folder,
            retry=self._retry,
            dismiss=self._dismiss,
            reasons=REASONS,
            exported=lambda user, address, job: self._audit.exported(_person(user, address), self._study(job)),
        )

    def overview(self) -> shown.Overview:
        """Return how the node is, as of a second ago at most."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last_s > _FRESH_S:
                self._last = self._gather()
                self._last_s = time.monotonic()
            return self._last

    def _gather(self) -> shown.Overview:
        config, workers = self._config, live_workers(self._spool.path)
        results = recent_results(self._spool, _RESULTS, patients=config.status.show_patient)
        answer = self._ask_queue(tuple(result.job for result in results))
        usage = shutil.disk_usage(self._spool.path)
        return shown.Overview(
            at_s=time.time(),
            ae_title=config.node.ae_title,
            version=__version__,
            receiving=_receiving(self._receiver),
            queue=None if answer is None else answer[0],
            running=tuple(self._running(workers)),
            results=results if answer is None else with_deliveries(results, answer[1]),
            disk=shown.Disk(usage.free, usage.total, config.spool.min_free_bytes, config.spool.pause_free_bytes),
            workers=tuple(sorted(workers)),
            worker_wanted=self._with_worker,
            models=tuple(
                shown.Model(facts.name, facts.version, facts.sha256)
                for facts in dict.fromkeys(facts for found in workers.values() for facts in found)
            ),
            certificates=tuple(shown.Certificate(*one) for one in sorted(self._certificates().items())),
        )

    def _running(self, workers: Iterable[str]) -> Iterable[shown.Running]:
        for worker in sorted(workers):
            found = read_progress(self._spool.path, worker)
            if found is not None:
                step = _STAGES.index(found.stage) + 1 if found.stage in _STAGES else 0
                yield shown.Running(worker, found.job, found.stage, found.share, step, len(_STAGES), found.begun_s)

    def _ask_queue(self, jobs: tuple[str, ...]) -> tuple[shown.Queue, list[Item]] | None:
        """Return what the queue knows, and the deliveries of ``jobs``; None when it doesn't answer in time."""
        wait_s = _QUEUE_S if self._asking is None else _STILL_S
        if self._asking is None:
            self._asking = Answer(lambda: (_queue(self._config, self._queue), self._queue.deliveries(jobs)))
        asking = self._asking
        try:
            return asking.wait(wait_s)
        except TimeoutError:
            return None  # it is asked still: the client tries for ever
        except (QueueUnavailable, SQLAlchemyError):
            return None
        finally:
            if asking.ended:
                self._asking = None

    def _retry(self, item: str, user: str, address: str) -> int:
        """Start ``item`` again and record it."""

        def start() -> int:
            count = len(self._queue.retry(item))
            if count:
                self._audit.retried(_person(user, address), self._study(item.split(".")[0]))
                log.get_logger().info("retried", item=item, address=address)
            return count

        return self._change(start)

    def _dismiss(self, item: str, reason: str, user: str, address: str) -> int:
        """Put ``item`` away, and nothing else that belongs to it, and record it."""

        def dismiss() -> int:
            found = (one for one in self._queue.find(item) if one.id == item)
            count = len(self._queue.dismiss(found, Reason(reason)))
            if count:
                self._audit.dismissed(_person(user, address), self._study(item.split(".")[0]), reason)
                log.get_logger().info("dismissed", item=item, reason=reason, address=address)
            return count

        return self._change(dismiss)

    def _change(self, change: Callable[[], int]) -> int:
        """Do what somebody asked for, one at a time; what was begun is done once the database answers.

        Raises:
            QueueUnavailable: it doesn't answer yet.
            QueueBusy: somebody else's change didn't end in time, and nothing was begun.
        """
        deadline = time.monotonic() + _CHANGE_S
        try:
            return self._begin(change, deadline).wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, SQLAlchemyError) as error:
            raise QueueUnavailable("the database of the queue doesn't answer") from error
        finally:
            self._last_s = float("-inf")

    def _begin(self, change: Callable[[], int], deadline: float) -> Answer[int]:
        """Begin a change once none is under way."""
        while True:
            with self._change_lock:
                before = self._changing
                if before is None or before.ended:
                    self._changing = Answer(change)
                    return self._changing
            if not before.ends_within(max(0.0, deadline - time.monotonic())):
                raise QueueBusy("another change is under way; nothing was done, try again")

    def _study(self, name: str) -> str | None:
        """The Study Instance UID of a study or job."""
        with suppress(SpoolError):
            return Manifest.read(self._spool, name).study_instance_uid
        return None


def _person(user: str, address: str) -> Participant:
    return Participant(user or "somebody on this machine", address)


def _receiving(receiver: Receiver) -> shown.Receiving:
    found, now_s = receiver.on_their_way, time.monotonic()
    return shown.Receiving(
        associations=tuple(sorted(receiver.callers.items())),
        series=tuple(
            shown.Incoming(
                log.short_hash(series.key.series_instance_uid),
                series.instances,
                max(0.0, now_s - series.last_received_s),
                series.reason is not None,
            )
            for series in found.series
        ),
        untaken=found.untaken,
    )


def _queue(config: Config, queue: JobClient) -> shown.Queue:
    states = queue.queues()
    unasked = {queues.proof(one.name) for one in config.all_destinations if one.confirm == "accepted"}
    faults = sorted(queue.faults(_LOOKED_AT), key=lambda item: item.updated_at, reverse=True)
    left = [item for item in faults if item.state != DISMISSED]
    dead = [item for item in left if item.state == "dead letter"]
    running = [item for item in queue.open_items() if item.kind == "deliver" and item.state == "running"]
    return shown.Queue(
        lines=tuple(
            shown.QueueLine(name, state.depth, state.oldest_age_s)
            for name, state in states.items()
            if state.depth or name not in unasked
        ),
        faults=tuple(map(_fault, left)),
        dismissed=tuple(_fault(item) for item in faults if item.state == DISMISSED),
        destinations=tuple(
            _destination(one, queue, states.get(queues.delivery(one.name), _EMPTY), dead, running)
            for one in config.all_destinations
        ),
    )


_FAULTS: dict[str, Literal["dead letter", "rejected", "dismissed"]] = {
    "rejected": "rejected",
    DISMISSED: "dismissed",
}
"""How the page calls a fault; else it is a dead letter."""


def _fault(item: Item) -> shown.Fault:
    reason = log.without_uids(item.reason)
    state = _FAULTS.get(item.state, "dead letter")
    return shown.Fault(item.id, state, _subject(item), item.destination, reason, item.updated_at.timestamp())


def _subject(item: Item) -> str:
    if not item.destination:
        return "Choosing the series of a study" if item.kind == "study" else "Making the results of a job"
    kind = item.id.split(".")[2]
    name = words.OBJECTS.get(kind, kind)
    if item.kind == "prove":
        return f"Proof of the {name} from {item.destination}"
    return f"Sending the {name} to {item.destination}"


def _destination(
    destination: Destination | WebDestination,
    queue: JobClient,
    waiting: QueueState,
    dead: list[Item],
    running: list[Item],
) -> shown.Destination:
    name = destination.name
    own = sorted((item for item in dead if item.destination == name), key=lambda item: item.updated_at)
    last = queue.last_delivery(name)
    last_s = None if last is None else last.updated_at.timestamp()
    attempt = next((queue.last_attempt(item.id) for item in running if item.destination == name), {})
    reason = attempt.get("reason", "") if attempt.get("status") == "unavailable" else ""
    if own and not reason and own[-1].updated_at.timestamp() > (last_s or 0.0):
        reason = own[-1].reason
    state: shown.DestinationState = "nothing yet" if last_s is None else "delivers"
    if reason:
        state = "fails"
    elif waiting.depth:
        state = "waits"
    return shown.Destination(
        name=name,
        kind="STOW-RS" if isinstance(destination, WebDestination) else "C-STORE",
        state=state,
        waiting=waiting.depth,
        oldest_age_s=waiting.oldest_age_s,
        dead=len(own),
        last_delivery_s=last_s,
        reason=log.without_uids(reason),
    )
