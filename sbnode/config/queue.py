"""The queue: its database, and when it tries again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, StringConstraints, model_validator

from sbnode.config.section import Name, Section

__all__ = ["Queue"]

Hours = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class Queue(Section):
    """The durable queue."""

    url: str | None = None
    """SQLAlchemy URL of a PostgreSQL database, without a password; default: a SQLite file in the spool."""
    password_file: Path | None = None
    """File with the password of the user in ``url``."""
    worker: Name = "worker-1"
    """Name of this worker. No two workers may have the same one."""
    first_retry_s: float = Field(30.0, gt=0)
    longest_retry_s: float = Field(600.0, gt=0)
    attempts: int = Field(10, ge=1)
    low_priority_hours: Hours | None = None
    """Jobs of low priority begin within these hours of local time, such as "19:00-07:00"; None: at any time."""

    @model_validator(mode="after")
    def _password_stands_in_a_file(self) -> Queue:
        parts = urlsplit(self.url or "")
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError("url must not hold a password: put it into a file and name that as password_file")
        if self.password_file is not None and not parts.username:
            raise ValueError("password_file needs a url with a user, such as postgresql+psycopg://sbnode@host/database")
        return self
