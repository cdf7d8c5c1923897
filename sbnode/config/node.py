"""The Application Entity that the node is."""

from __future__ import annotations

from pydantic import Field, model_validator

from sbnode.config.section import AeTitle, Port, Section
from sbnode.config.tls import Tls

__all__ = ["Node"]


class Node(Section):
    """The DICOM Application Entity that receives."""

    ae_title: AeTitle = "SBNODE"
    host: str = "0.0.0.0"
    port: Port | None = 11112
    """Of plain associations; None: none are taken."""
    tls_port: Port | None = None
    tls: Tls | None = None
    drain_s: float = Field(30.0, ge=0, le=3600)
    """After SIGTERM, open associations and running steps have this long to end."""

    @model_validator(mode="after")
    def _ports_fit(self) -> Node:
        if (self.tls is None) != (self.tls_port is None):
            raise ValueError("tls_port and tls belong together: give both or none")
        if self.port is None and self.tls_port is None:
            raise ValueError("without port and tls_port, nobody can send; give one")
        return self
