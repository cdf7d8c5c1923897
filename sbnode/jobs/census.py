"""How much is in the queue, counted by the database: a scrape must not load every item.

It reads the table that DBOS documents (`workflow_status`) by a connection of its own, because DBOS waits for a database
that is down, and this must not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Engine,
    Integer,
    Select,
    Text,
    case,
    cast,
    column,
    create_engine,
    func,
    make_url,
    or_,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError

from sbnode.errors import QueueUnavailable
from sbnode.jobs import dismissal, queues
from sbnode.metrics import QueueGroup

__all__ = ["Census"]

_PATIENCE_S = 2
"""For a connection, for a lock of SQLite, and for the answer of PostgreSQL."""
_SCHEMA = "dbos"
"""Of the table in PostgreSQL."""
_STATES = {
    "ENQUEUED": "waiting",
    "PENDING": "running",
    "DELAYED": "delayed",
    "ERROR": "dead",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "dead",
}
_DEAD = [status for status, state in _STATES.items() if state == "dead"]
_STAGES = {"study": "study", "process": "inference", "deliver": "delivery", "prove": "proof"}
"""By the workflow's name; that of the queue is lost where a worker died each time."""
_TIMES = ("updated_at", "started_at_epoch_ms", "delay_until_epoch_ms", "completed_at")
_PRIORITIES = {number: name for name, number in queues.PRIORITIES.items()}


class Census:
    """Counts what is in the database at ``url``."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._question = _question(None if self._engine.dialect.name == "sqlite" else _SCHEMA)

    def groups(self, names: Iterable[str]) -> tuple[QueueGroup, ...]:
        """Return what is in the queue, with a group of none for each queue of ``names``.

        Raises:
            QueueUnavailable: the database doesn't answer.
        """
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(self._question).all()
        except SQLAlchemyError as error:
            raise QueueUnavailable("the database of the queue doesn't answer") from error
        return (*(group for name in names for group in _none(name)), *(_group(*row) for row in rows))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    made = make_url(url)
    if made.get_backend_name() == "sqlite":
        # A database that is gone must not be made anew, empty.
        made = made.set(database=f"file:{made.database}", query={"mode": "rw", "uri": "true"})
        return create_engine(made, connect_args={"timeout": _PATIENCE_S})
    limits = {"connect_timeout": _PATIENCE_S, "options": f"-c statement_timeout={_PATIENCE_S * 1000}"}
    made = made.set(drivername="postgresql+psycopg")
    return create_engine(made, pool_pre_ping=True, connect_args=limits)


def _question(schema: str | None) -> Select[Any]:
    columns = [column(name, Text) for name in ("name", "queue_name", "status", "application_name")]
    numbers = [column(name, BigInteger) for name in _TIMES]
    others = (column("priority", Integer), column("attributes", JSON().with_variant(JSONB(), "postgresql")))
    status = table("workflow_status", *columns, *numbers, *others, schema=schema)
    began = status.c.started_at_epoch_ms
    # Since when it waits: since it was put in or started again, or since its delay was over.
    due = func.coalesce(status.c.delay_until_epoch_ms, 0)
    waiting = case((due > status.c.updated_at, due), else_=status.c.updated_at)
    since = case((status.c.status == "PENDING", func.coalesce(began, status.c.updated_at)), else_=waiting)
    # A constant where it doesn't matter: dead letters are many and old.
    priority = case((status.c.status.in_(_DEAD), 0), else_=status.c.priority)
    groups = (status.c.name, status.c.queue_name, status.c.status, priority)
    ours = func.coalesce(status.c.application_name, queues.APPLICATION) == queues.APPLICATION
    # What was dismissed, when it ended so, calls for nobody.
    noted_end = func.coalesce(status.c.attributes[dismissal.NOTED_END].as_string(), "")
    left = or_(status.c.status.not_in(_DEAD), noted_end != func.coalesce(cast(status.c.completed_at, Text), "unknown"))
    return (
        select(*groups, func.count(), func.min(since), func.max(status.c.updated_at))
        .where(status.c.status.in_(list(_STATES)), ours, left)
        .group_by(*groups)
    )


def _group(
    name: str, queue: str | None, status: str, priority: int, count: int, first_at_ms: int, last_at_ms: int
) -> QueueGroup:
    stage = _STAGES.get(name, "other")
    return QueueGroup(
        stage=stage,
        destination=(queue or "").partition(".")[2],
        priority=_PRIORITIES.get(priority, "none"),
        state=_STATES[status],
        count=count,
        first_at_s=first_at_ms / 1000,
        last_at_s=last_at_ms / 1000,
    )


def _none(name: str) -> tuple[QueueGroup, QueueGroup]:
    stage, _, destination = name.partition(".")
    priority = "normal" if stage in ("inference", "delivery") else "none"
    return (
        QueueGroup(stage=stage, destination=destination, priority=priority, state="waiting", count=0),
        QueueGroup(stage=stage, destination=destination, state="dead", count=0),
    )
