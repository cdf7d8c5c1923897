"""Who is told when something went wrong, how and in which words."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from sbnode.config.section import LOCAL, Port, Section

__all__ = ["Mail", "Notify", "Webhook"]

_ADDRESS = r"^[^\s,@<>]+@[^\s,@<>]+$"


class Webhook(Section):
    """Where notices are posted as JSON."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+[^\s#@]*$")]
    token_file: Path | None = None
    """File with a bearer token."""
    ca: Path | None = None
    """Certificates that the server's must come from; default: the system's authorities."""
    timeout_s: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _stays_secret(self) -> Webhook:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and parts.hostname not in LOCAL:
            raise ValueError("a notice over http:// can be read and changed on the way; use https://")
        return self


class Mail(Section):
    """A mail server, and who gets notices."""

    host: str
    port: Port = 587
    sender: Annotated[str, StringConstraints(pattern=_ADDRESS)]
    recipients: Annotated[tuple[Annotated[str, StringConstraints(pattern=_ADDRESS)], ...], Field(min_length=1)]
    starttls: bool = True
    """False: in the clear, to a server on this machine only."""
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    """As of ``webhook``."""
    timeout_s: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _stays_secret(self) -> Mail:
        if not self.starttls and self.host not in LOCAL:
            raise ValueError("without starttls, mail could be read on the way; only this machine is allowed")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")
        return self


class Notify(Section):
    """Who is told of new dead letters, and of destinations that deliver again."""

    every_s: float = Field(300.0, ge=1)
    """The least time between two notices: what is new within it goes into one."""
    link: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None
    """Where to look: the status page or your runbook."""
    subject: str = "sbnode $node: $dead new dead letters, $recovered destinations deliver again"
    text: str = "$lines\n\n$link\n"
    webhook: Webhook | None = None
    mail: Mail | None = None

    @field_validator("subject", "text")
    @classmethod
    def _template(cls, value: str) -> str:
        template = Template(value)
        known = ("node", "dead", "recovered", "lines", "link")
        if not template.is_valid():
            raise ValueError("a $ stands alone: write $$ for one")
        unknown = [name for name in template.get_identifiers() if name not in known]
        if unknown:
            raise ValueError(f"${unknown[0]} means nothing here; there are $" + ", $".join(known))
        return value

    @field_validator("subject")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if "\n" in value or "\r" in value or "$lines" in value or "${lines}" in value:
            raise ValueError("a subject is one line")
        return value
