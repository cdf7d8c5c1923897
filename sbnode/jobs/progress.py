"""How far a worker is with its job: a small file beside its lock, for the eye. Nothing depends on it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Progress", "ProgressFile", "read_progress"]

_FOLDER = "workers"
_SUFFIX = ".progress.json"
_EVERY_S = 0.5
"""A share that changes is written at most so often."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a worker is doing: its job, the stage of the pipeline, and the share of that stage that is done, 0..1.

    Times are in seconds since 1970.
    """

    job: str
    stage: str
    share: float
    begun_s: float
    """When the job was begun."""
    stage_begun_s: float


class ProgressFile:
    """Writes the progress of one worker. For one job at a time.

    A file that can't be written is left as it was: no job fails, or waits, for it.
    """

    def __init__(self, spool: Path, worker: str, clock: Callable[[], float] = time.time) -> None:
        self._path = spool / _FOLDER / f"{worker}{_SUFFIX}"
        self._clock = clock
        self._now: Progress | None = None
        self._written_s = 0.0

    def begin(self, job: str) -> Callable[[str, float], None]:
        """Begin a job; return what takes each stage of it and the share of the stage that is done."""
        begun_s = self._clock()
        self._now = None

        def tell(stage: str, share: float) -> None:
            now_s = self._clock()
            before = self._now
            same = before is not None and before.stage == stage
            stage_begun_s = before.stage_begun_s if before is not None and same else now_s
            self._now = Progress(job, stage, min(max(share, 0.0), 1.0), begun_s, stage_begun_s)
            if not same or now_s - self._written_s >= _EVERY_S:
                self._written_s = now_s
                self._write(self._now)

        return tell

    def end(self) -> None:
        """The job is over."""
        self._now = None
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _write(self, progress: Progress) -> None:
        """Put it in the place of the last one, at once for whoever reads. Not flushed: after a power cut it is void."""
        unfinished = self._path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(asdict(progress)), encoding="utf-8")
            unfinished.replace(self._path)


def read_progress(spool: Path, worker: str) -> Progress | None:
    """Return what a worker said last; None when it has no job, or said something else than that.

    A worker that was killed may have left it: ask `live_workers` whether it lives.
    """
    path = spool / _FOLDER / f"{worker}{_SUFFIX}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Progress(
            job=str(content["job"]),
            stage=str(content["stage"]),
            share=float(content["share"]),
            begun_s=float(content["begun_s"]),
            stage_begun_s=float(content["stage_begun_s"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
