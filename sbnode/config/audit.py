"""Where the audit trail goes."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from sbnode.config.section import LOCAL, Port, Section

__all__ = ["AuditTrail", "Syslog"]


class Syslog(Section):
    """A syslog server that takes audit messages (IHE ITI-20, PS3.15 section A.6)."""

    host: str
    port: Port = 6514
    tls: bool = True
    """RFC 5425. Without it, the same over TCP, to this machine only."""
    ca: Path | None = None
    """Certificates that the server's must come from; default: the system's authorities."""
    certificate: Path | None = None
    """Client certificate, with its key."""
    key: Path | None = None

    @model_validator(mode="after")
    def _safe(self) -> Syslog:
        if not self.tls and self.host not in LOCAL:
            raise ValueError("without tls, records could be read and changed on the way; only this machine is allowed")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        return self


class AuditTrail(Section):
    """Who sent what, and what went where."""

    path: Path | None = None
    """File that records are appended to, as JSON lines; None: none."""
    syslog: Syslog | None = None
    """Server that records are sent to, as the XML of PS3.15 section A.5.1; None: none."""
