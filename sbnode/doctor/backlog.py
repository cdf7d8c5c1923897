"""The queue as a doctor sees it: how much waits and for how long, and what was given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from sbnode.config import Config
from sbnode.doctor.observation import Observation, ok, warn
from sbnode.errors import QueueUnavailable
from sbnode.jobs.client import FAULTS, JobClient
from sbnode.service.process import open_spool

__all__ = ["Backlog", "GivenUp", "examine_backlog", "read_backlog"]

LONG_S = 3600.0
"""What waits longer than this is worth a look."""
MOST_LISTED = 200


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A dead letter or a rejected study. Ids are hashes; reasons hold no patient data."""

    id: str
    kind: str
    state: str
    destination: str
    reason: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """Depth and age of the oldest by queue, how many items are in which state, and the newest that were given up."""

    depth: dict[str, int]
    oldest_s: dict[str, float]
    states: dict[str, int]
    given_up: tuple[GivenUp, ...]


def read_backlog(config: Config) -> Backlog:
    """Read the queue.

    Raises:
        ConfigError: the spool or the queue can't be used.
        QueueUnavailable: its database doesn't answer.
    """
    client = JobClient(config, open_spool(config))
    try:
        queues, items = client.queues(), client.items()
    except SQLAlchemyError as error:
        raise QueueUnavailable("queue.url: the database of the queue doesn't answer") from error
    finally:
        client.close()
    given_up = [
        GivenUp(item.id, item.kind, item.state, item.destination, item.reason, item.created_at, item.updated_at)
        for item in items
        if item.state in FAULTS
    ]
    return Backlog(
        {name: state.depth for name, state in queues.items()},
        {name: state.oldest_age_s for name, state in queues.items() if state.depth},
        dict(Counter(f"{item.kind}: {item.state}" for item in items)),
        tuple(given_up[:MOST_LISTED]),
    )


def examine_backlog(backlog: Backlog) -> Iterator[Observation]:
    """Say what waits for long and what was given up."""
    for name, age_s in backlog.oldest_s.items():
        if age_s > LONG_S:
            yield warn(
                f"queue {name}",
                f"{backlog.depth[name]} wait, the oldest for {age_s / 3600:.1f} h",
                "a delivery: is its destination up, and is its name still configured? a job: is a worker ready, and "
                "does queue.low_priority_hours hold it back?",
            )
    if not any(age_s > LONG_S for age_s in backlog.oldest_s.values()):
        yield ok("queue", f"{sum(backlog.depth.values())} wait or run")
    dead = sum(number for state, number in backlog.states.items() if state.endswith("dead letter"))
    if dead:
        yield warn(
            "dead letters",
            f"{dead} were given up",
            "sbnode jobs list --dead says why; sbnode jobs retry ID after the cause is mended, sbnode jobs dismiss ID "
            "for what is left on purpose",
        )
    else:
        yield ok("dead letters", "none")
