"""What an operator sees: the HTTP side, the logs, and what is watched and promised."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sbnode.config.section import Port, Section

__all__ = ["Log", "Monitoring", "Status"]


class Status(Section):
    """The HTTP side: the status page, /metrics, /healthz and /readyz."""

    host: str = "127.0.0.1"
    port: Port = 9464
    user: str | None = Field(None, min_length=1)
    """With it, all but /healthz asks for this user and password (basic authentication, RFC 7617)."""
    password_file: Path | None = None
    monitor_user: str | None = Field(None, min_length=1)
    """A second user, such as Prometheus, for /metrics and /readyz alone."""
    monitor_password_file: Path | None = None
    show_patient: bool = False
    """Show name and ID of the patient beside each result. Needs a user."""

    @model_validator(mode="after")
    def _user_and_password(self) -> Status:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")
        for name, user in (("user", self.user), ("monitor_user", self.monitor_user)):
            if user is not None and ":" in user:
                raise ValueError(f"{name} must not hold a colon: basic authentication ends the name there")
        if self.show_patient and self.user is None:
            raise ValueError("show_patient needs a user: without one, anybody who reaches the page reads the names")
        return self

    @model_validator(mode="after")
    def _monitor(self) -> Status:
        if (self.monitor_user is None) != (self.monitor_password_file is None):
            raise ValueError("monitor_user and monitor_password_file belong together: give both or none")
        if self.monitor_user is not None and self.user is None:
            raise ValueError("monitor_user needs a user: without one, nobody is asked for a password")
        if self.monitor_user is not None and self.monitor_user == self.user:
            raise ValueError("monitor_user must be another one than user, which may see and do everything")
        return self


class Monitoring(Section):
    """What is watched, and what is promised."""

    destination_check_s: float | None = Field(60.0, ge=1)
    """How often each destination is asked whether it answers (C-ECHO, HTTP); None: never."""
    objective_s: float = Field(600.0, gt=0)
    """99 % of the objects are to be accepted within this time of the last received instance."""


class Log(Section):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
