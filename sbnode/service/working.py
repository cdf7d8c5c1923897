"""The worker process: takes work from the queues until it is told to stop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, NoReturn

from sbnode import log, metrics
from sbnode.audit import Audit
from sbnode.config import Config
from sbnode.errors import ConfigError, QueueUnavailable
from sbnode.jobs.client import JobClient
from sbnode.jobs.lease import Lease
from sbnode.service.periodic import Periodic
from sbnode.service.process import node_command, open_spool, reload_held, signals
from sbnode.service.settings import Settings
from sbnode.spool import Spool

if TYPE_CHECKING:
    from sbnode.jobs.worker import Worker

__all__ = ["adopt", "work"]

PREDECESSOR_S = 10.0
"""A supervised worker waits this long, and ``node.drain_s``, for one that outlived its parent."""
ADOPTION_S = 15.0
QUEUE_BYTES = 10_000_000
"""The queue in SQLite needs this much space at least."""
LONGEST_STEP_S = 3600.0
"""A new configuration waits this long for a running step, which is then cut off and done again."""


def work(config: Config, config_file: Path | None, *, supervised: bool) -> None:
    """Run the worker process until SIGTERM, SIGINT or, when supervised, the end of standard input.

    After SIGHUP it finishes its step and begins anew with the configuration that the file then holds, unless that has a
    fault or needs a restart.

    Does not return: the threads of deliveries that wait for their next attempt would hold the process for
    minutes, and what they wait for stands in the database.

    Raises:
        ConfigError: another worker has this name, or the spool or the queue can't be used.
        QueueUnavailable: the database of the queue doesn't answer.
        ModelError: a model can't be used.
    """
    told = signals()
    if supervised:
        Thread(target=_wait_for_parent, args=(told.stop,), daemon=True).start()
    process = _start(config, config_file, told.stop, supervised=supervised)
    told.wait(process.begin_anew)
    process.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class _WorkerProcess:
    """The parts of the worker process, at work."""

    config: Config
    command: list[str]
    """What starts this process."""
    stop: Event
    settings: Settings
    lease: Lease
    audit: Audit
    worker: Worker
    adoption: Periodic

    def begin_anew(self) -> None:
        """Become a process with the configuration that the file now holds, after the step that runs."""
        if not self.settings.reload():
            return
        self.adoption.stop()
        self.worker.drain(LONGEST_STEP_S, self.stop, self.config.node.drain_s)
        if self.stop.is_set():
            return
        log.get_logger().info("worker_begins_anew", worker=self.config.queue.worker)
        self.audit.close()
        sys.stderr.flush()
        with reload_held():
            os.execv(self.command[0], self.command)

    def end(self) -> NoReturn:
        """End the process; running steps have ``node.drain_s``."""
        drained = self.worker.drain(self.config.node.drain_s)
        self.audit.close()
        log.get_logger().info("worker_stopped", worker=self.config.queue.worker, drained=drained)
        sys.stderr.flush()
        os._exit(0)


def _start(config: Config, config_file: Path | None, stop: Event, *, supervised: bool) -> _WorkerProcess:
    # The models and DBOS are heavy; the receiving process does without them.
    from sbnode import pipeline
    from sbnode.jobs.steps import Steps
    from sbnode.jobs.worker import Worker

    spool = open_spool(config)
    lease = Lease(spool.path, config.queue.worker, wait_s=config.node.drain_s + PREDECESSOR_S if supervised else 0)
    models = pipeline.Models.open(config)
    _wait_for_space(spool, stop)
    queue = JobClient(config, spool)
    audit = Audit.open(config.audit, config.node.ae_title)
    worker = Worker(config, Steps(config, spool, models, pipeline.run, audit=audit))
    worker.start(queue.left_over())
    lease.announce(
        [
            metrics.ModelFacts(model.description.name, model.description.version, model.description.sha256)
            for model in (models.occupancy, models.region)
        ]
    )
    log.get_logger().info("working", worker=config.queue.worker, shadow=config.shadow)
    adoption = Periodic("adoption", ADOPTION_S, _Adoption(config, config_file, queue, worker).turn)
    adoption.start()
    return _WorkerProcess(
        config=config,
        command=node_command(config_file, "work", *(["--supervised"] if supervised else [])),
        stop=stop,
        settings=Settings(config, config_file),
        lease=lease,
        audit=audit,
        worker=worker,
        adoption=adoption,
    )


def adopt(config: Config, name: str) -> None:
    """Give the work of the dead worker ``name`` back to the queues. Call it in a process of its own."""
    from sbnode.jobs.executor import adopt as adopt_executor

    adopt_executor(config, name)


def _wait_for_space(spool: Spool, stop: Event) -> None:
    """Wait until the queue can be written: otherwise each start would use up an attempt of what is begun."""
    if spool.free_bytes() < QUEUE_BYTES:
        log.get_logger().warning("work_paused", reason="the device of the spool is full")
    while spool.free_bytes() < QUEUE_BYTES and not stop.wait(1.0):
        pass


class _Adoption:
    """Looks after what was begun: work of a dead worker is given back, and a queue that lost track is noticed."""

    def __init__(self, config: Config, config_file: Path | None, queue: JobClient, worker: Worker) -> None:
        self._config, self._config_file, self._queue, self._worker = config, config_file, queue, worker
        self._idle: set[str] = set()
        """What the queue took for running at the last look, and this process wasn't doing."""

    def turn(self, _: Callable[[], bool]) -> None:
        """Look once; ends the process where the queue can't be read, or only a restart takes up what is stranded."""
        from sbnode.jobs.worker import end_process

        try:
            in_hand = self._queue.in_hand()
        except QueueUnavailable as error:
            end_process(error)
        before, self._idle = self._idle, in_hand.pop(self._config.queue.worker, set()) - self._worker.running
        if stranded := before & self._idle:
            # The database couldn't be written when they ended.
            end_process(QueueUnavailable(f"{len(stranded)} workflows ended and the queue doesn't know how"))
        _adopt_dead(self._config, self._config_file, in_hand)


def _adopt_dead(config: Config, config_file: Path | None, names: Iterable[str]) -> None:
    """Hold the name of each dead worker that left work while a short process gives that work back."""
    for name in sorted(names):
        try:
            lease = Lease(config.spool.path, name)
        except ConfigError:
            continue  # it lives
        try:
            finished = subprocess.run(
                node_command(config_file, "work", "--adopt", name), stdin=subprocess.DEVNULL, check=False
            )
        finally:
            lease.close()
        log.get_logger().warning("worker_adopted", worker=name, code=finished.returncode)


def _wait_for_parent(stop: Event) -> None:
    sys.stdin.buffer.read()
    stop.set()
