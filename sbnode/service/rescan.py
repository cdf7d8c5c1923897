"""Putting every study of the spool into the queue again: after its database was lost, or to look for damaged files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sbnode.config import Config
from sbnode.errors import SpoolError
from sbnode.jobs.client import JobClient
from sbnode.service.process import open_spool
from sbnode.spool import Spool

__all__ = ["Scanned", "rescan"]


@dataclass(frozen=True, slots=True)
class Scanned:
    """A study of the spool: its name in the queue, or its UID where a file is damaged; what is wrong, else empty."""

    name: str
    instances: int
    fault: str = ""


def rescan(config: Config, *, verify: bool) -> Iterator[Scanned]:
    """Submit each study in turn and yield it; one that the queue knows already changes nothing.

    A study with a damaged file is reported and not submitted.

    Args:
        config: names the spool and the queue.
        verify: read every file and compare its checksum.

    Raises:
        ConfigError: the spool or the queue can't be used.
    """
    spool = open_spool(config)
    queue = JobClient(config, spool)
    try:
        for study in spool.studies():
            yield _scan(study, spool, queue, verify)
    finally:
        queue.close()


def _scan(study: str, spool: Spool, queue: JobClient, verify: bool) -> Scanned:
    try:
        series = spool.series(study)
        if verify:
            for one in series:
                spool.verify(one)
    except SpoolError as error:
        instances = sum(count for key, count in spool.stored().items() if key.study_instance_uid == study)
        return Scanned(f"study {study}", instances, str(error))
    return Scanned(queue.submit(series), sum(len(one.instances) for one in series))
