"""The worker's side of the queue: workflows over the steps, run by DBOS.

Waiting is a durable sleep, so that a restart neither shortens nor repeats it. What is drawn by chance is
drawn from the workflow's name, so that a replay draws the same.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import count
from typing import NoReturn, ParamSpec

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
from sqlalchemy.exc import SQLAlchemyError

from sbnode import log, metrics
from sbnode.config import Config, Queue
from sbnode.errors import SbnodeError
from sbnode.jobs import queues
from sbnode.jobs.executor import executor_config
from sbnode.jobs.steps import Outcome, Steps, retry_delay_s

__all__ = ["DeadLetter", "Worker", "end_process"]

P = ParamSpec("P")

CRASHES_OF_A_JOB = 2
"""A job that was running when the worker died is tried again this often; then it is a dead letter."""
SENDINGS = 3
"""What a destination accepted and then doesn't hold is sent this often in all."""
QUEUE_LOST_EXIT = 5
POLL_S = 0.5
_SETTLE_S = 0.5


def end_process(error: Exception) -> NoReturn:
    """End the worker at once, because the database of the queue took no note of what it did.

    As after `kill -9`, the next start goes on from the last thing that was noted.
    """
    log.get_logger().error("queue_lost", **log.fault(error))
    sys.stderr.flush()
    os._exit(QUEUE_LOST_EXIT)


class DeadLetter(SbnodeError):
    """What the node gave up. The message says why."""


class Worker:
    """Takes work from the queues and does it, until ``drain``.

    Args:
        config: the configuration; ``queue.worker`` names this worker.
        steps: what is done.
    """

    def __init__(self, config: Config, steps: Steps) -> None:
        self._config = config
        self._steps = steps
        self._running: set[str] = set()
        self._draining = False
        DBOS(config=executor_config(config, config.queue.worker))
        _register(steps, config.queue, self._running)

    def start(self, also: Iterable[str] = ()) -> None:
        """Take up what this worker left when it ended, then whatever is queued, in the queues ``also`` too."""
        # Also to those of destinations that are no longer configured: what waits there becomes a dead letter.
        names = sorted({*queues.names(self._config), *also})
        DBOS.listen_queues(names)
        DBOS.launch()
        for name in names:
            DBOS.register_queue(name, worker_concurrency=1, polling_interval_sec=POLL_S, on_conflict="always_update")

    @property
    def running(self) -> frozenset[str]:
        """The ids of what this process is doing."""
        return frozenset(self._running)

    def drain(self, seconds: float, hurry: threading.Event | None = None, hurried_s: float = 0.0) -> bool:
        """Take nothing more and wait for the running steps; return whether they ended within ``seconds``.

        A step that is cut off is done again after the next start. A delivery that waits for its next attempt
        goes on waiting in the database. Once ``hurry`` is set there are only ``hurried_s`` left.
        """
        if not self._draining:
            self._draining = True
            timeout_s = int(seconds) + 1
            threading.Thread(
                target=DBOS.destroy, kwargs={"workflow_completion_timeout_sec": timeout_s}, daemon=True
            ).start()
        deadline = time.monotonic() + seconds
        while self._steps.running and time.monotonic() < deadline:
            if hurry is not None and hurry.wait(0.05):
                deadline, hurry = min(deadline, time.monotonic() + hurried_s), None
            time.sleep(0.05)
        time.sleep(_SETTLE_S)
        return self._steps.running == 0


def _register(steps: Steps, law: Queue, running: set[str]) -> None:
    """Make the workflows known to DBOS by their names; ``running`` holds the ids of those that run."""

    @DBOS.workflow(name="deliver")
    @_noted_in(running)
    def deliver(job_key: str, destination: str, kind: str, sending: int = 1, released: bool = False) -> Outcome:
        outcome = _persist(law, lambda: DBOS.run_step(None, steps.deliver, job_key, destination, kind, released))
        if outcome["status"] in ("superseded", "held"):
            return outcome
        if DBOS.run_step({"name": "confirms"}, lambda: steps.confirms(destination)):
            sent = outcome.get("sent", kind)
            with SetWorkflowID(f"{job_key}.{destination}.{sent}.proof-{sending}-1"):
                DBOS.enqueue_workflow(queues.proof(destination), prove, job_key, destination, sent, sending, 1)
        return outcome

    @DBOS.workflow(name="prove")
    @_noted_in(running)
    def prove(job_key: str, destination: str, kind: str, sending: int, number: int) -> Outcome:
        outcome = DBOS.run_step(None, steps.prove, job_key, destination, kind, sending, number)
        name, status = f"{job_key}.{destination}.{kind}", outcome["status"]
        if status in ("failed", "refused"):
            raise _given_up(f"{status}: {outcome['reason']}")
        if status in ("waiting", "unavailable"):
            # Not by sleeping: what waits for hours must hold up nothing else.
            delay_s = retry_delay_s(number, law.first_retry_s, law.longest_retry_s, _draw(f"{name}.{number}"))
            again = SetWorkflowID(f"{name}.proof-{sending}-{number + 1}")
            with again, SetEnqueueOptions(delay_seconds=delay_s):
                DBOS.enqueue_workflow(queues.proof(destination), prove, job_key, destination, kind, sending, number + 1)
        if status == "missing":
            if sending >= SENDINGS:
                why = f"; {outcome['reason']}" if outcome.get("reason") else ""
                raise _given_up(f"missing: the destination accepted it {sending} times and doesn't hold it{why}")
            again = SetWorkflowID(queues.sending(name, sending + 1))
            # Released: it was sent, so shadow mode has no say in it any more.
            facts = (job_key, destination, kind, sending + 1, True)
            with again, SetEnqueueOptions(delay_seconds=law.first_retry_s):
                DBOS.enqueue_workflow(queues.delivery(destination), deliver, *facts)
        return outcome

    @DBOS.workflow(name="process", max_recovery_attempts=CRASHES_OF_A_JOB)
    @_noted_in(running)
    def process(job_key: str, number: int = 1) -> Outcome:
        outcome = _persist(law, lambda: DBOS.run_step(None, steps.process, job_key))
        if outcome["status"] == "done":
            # A step, because a replay must see the destinations of the first time, whatever the config says
            # now.
            for destination, kind in DBOS.run_step({"name": "destinations"}, lambda: steps.deliveries(job_key)):
                with SetWorkflowID(f"{job_key}.{destination}.{kind}"), _priority(outcome):
                    DBOS.enqueue_workflow(queues.delivery(destination), deliver, job_key, destination, kind)
        if outcome["status"] == "postponed":
            # Not by sleeping, which would keep the one place of the queue.
            with SetEnqueueOptions(priority=queues.PRIORITIES["low"], delay_seconds=float(outcome["wait_s"])):
                begin(job_key, number + 1)
        if outcome["status"] == "superseded":
            with _priority(outcome):
                begin(outcome["job"])
        return outcome

    def begin(job_key: str, number: int = 1, again: bool = False) -> None:
        number = DBOS.run_step({"name": "number"}, lambda: _next_number(job_key, number, again=again))
        with SetWorkflowID(queues.later(job_key, number)):
            DBOS.enqueue_workflow(queues.INFERENCE, process, job_key, number)

    @DBOS.workflow(name="study", max_recovery_attempts=CRASHES_OF_A_JOB)
    @_noted_in(running)
    def study(study_id: str, again: bool = False) -> Outcome:
        outcome = _persist(law, lambda: DBOS.run_step(None, steps.choose, study_id))
        if outcome["status"] == "done":
            with _priority(outcome):
                begin(outcome["job"], again=again)
        return outcome


def _next_number(job_key: str, first: int, *, again: bool) -> int:
    """Return under which number from ``first`` a job is begun: another one where it was handed on under that one.

    Settings that were changed and changed back hand a job on and back again; under its first name nothing would happen.
    Where it ended there without results it stays so, unless somebody wants it ``again``.
    """
    for number in count(first):
        name = queues.later(job_key, number)
        found = DBOS.list_workflows(workflow_ids=[name])
        status = found[0].status if found else ""
        output = found[0].output if status == "SUCCESS" else None
        ended = output.get("status") if isinstance(output, dict) else None
        if ended in ("superseded", "postponed"):
            continue
        if again and (ended == "rejected" or status in ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")):
            DBOS.update_workflow_attributes(name, None)  # it may have been dismissed
            DBOS.rewind_workflow(name, queue_name=queues.INFERENCE, application_version=queues.WORKFLOWS_VERSION)
        return number
    raise AssertionError("unreachable")


def _noted_in(running: set[str]) -> Callable[[Callable[P, Outcome]], Callable[P, Outcome]]:
    """Keep the id of a workflow in ``running`` while it runs."""

    def decorate(workflow: Callable[P, Outcome]) -> Callable[P, Outcome]:
        @functools.wraps(workflow)
        def noted(*args: P.args, **options: P.kwargs) -> Outcome:
            name = str(DBOS.workflow_id)
            running.add(name)
            try:
                return workflow(*args, **options)
            except SQLAlchemyError as error:
                # Raised, it would be noted as the end of the workflow should the database be back by then.
                end_process(error)
            finally:
                running.discard(name)

        return noted

    return decorate


def _priority(outcome: Outcome) -> SetEnqueueOptions:
    """What is enqueued in this context has the priority of what it follows from."""
    return SetEnqueueOptions(priority=queues.PRIORITIES[outcome.get("priority", "normal")])


def _persist(law: Queue, attempt: Callable[[], Outcome]) -> Outcome:
    """Attempt until the outcome is final; wait in between by the retry law. A full spool uses up no attempt."""
    failures = 0
    for number in count(1):
        outcome = attempt()
        if outcome["status"] in ("refused", "failed"):
            raise _given_up(f"{outcome['status']}: {outcome['reason']}")
        if outcome["status"] not in ("unavailable", "paused"):
            return outcome
        failures += outcome["status"] == "unavailable"
        if failures == law.attempts:
            break
        draw = _draw(f"{DBOS.workflow_id}.{number}")
        DBOS.sleep(retry_delay_s(max(failures, 1), law.first_retry_s, law.longest_retry_s, draw))
    raise _given_up(f"given up after {law.attempts} attempts: {outcome['reason']}")


def _given_up(reason: str) -> DeadLetter:
    """What was promised in time will never come."""
    metrics.OBJECTIVE.labels("missed").inc()
    return DeadLetter(reason)


def _draw(seed: str) -> float:
    return int.from_bytes(sha256(seed.encode()).digest()[:4], "big") / 0xFFFFFFFF
