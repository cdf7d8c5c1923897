"""Keeping the worker process running.

The worker's standard input is a pipe that only its parent holds: when the parent dies, however it dies, the
worker reads the end of it, finishes its step and ends too.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from threading import Event, Thread

from sbnode import log, metrics
from sbnode.errors import ConfigError
from sbnode.service.process import node_command, reload_held

__all__ = ["Supervisor"]

FIRST_RESTART_S = 1.0
LONGEST_RESTART_S = 30.0
HEALTHY_S = 60.0
"""A worker that lived this long is restarted as if it were the first time."""
LAST_WORDS_S = 5.0
"""After its steps have ended, a worker needs this long to send what it has to say of them."""
CONFIGURATION_EXIT = 2


class Supervisor:
    """Starts the worker and starts it again whenever it dies, until ``stop`` is set or called.

    ``fault`` is set, and ``stop`` with it, when the worker can't start with this configuration.
    """

    def __init__(self, config_file: Path | None, stop: Event) -> None:
        self._command = node_command(config_file, "work", "--supervised")
        self._stop = stop
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)
        self.fault: ConfigError | None = None

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def reload(self) -> None:
        """Have the worker read its configuration again, after the step that it is doing."""
        child = self._child
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGHUP)

    def drain(self) -> None:
        """End the worker after the steps that run, which have ``node.drain_s``: by the end of its standard input."""
        self._stop.set()
        child = self._child
        if child is not None and child.stdin is not None:
            child.stdin.close()

    def stop(self, patience_s: float) -> None:
        """End the worker, by force when its steps take longer than ``patience_s``."""
        self.drain()
        child = self._child
        if child is not None:
            try:
                child.wait(patience_s + LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                child.kill()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        delay_s = FIRST_RESTART_S
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self._turn(delay_s)
            except Exception as error:
                # The thread's boundary: without it no worker would ever be started again.
                log.get_logger().error("supervisor_failed", restart_after_s=delay_s, **log.fault(error))
            if time.monotonic() - started > HEALTHY_S:
                delay_s = FIRST_RESTART_S
            self._stop.wait(delay_s)
            delay_s = min(2 * delay_s, LONGEST_RESTART_S)

    def _turn(self, delay_s: float) -> None:
        """Start the worker and wait for its end."""
        metrics.WORKER_STARTS.inc()
        with reload_held():
            self._child = child = subprocess.Popen(self._command, stdin=subprocess.PIPE)
        code = child.wait()
        if child.stdin is not None:
            child.stdin.close()
        if self._stop.is_set():
            return
        log.get_logger().error("worker_died", code=code, restart_after_s=delay_s)
        if code == CONFIGURATION_EXIT:
            self.fault = ConfigError("the worker can't start: its message is above")
            self._stop.set()
        metrics.add_up_dead_processes()
