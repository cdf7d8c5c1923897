"""Certificates of a TLS connection."""

from __future__ import annotations

from pathlib import Path

from sbnode.config.section import Section

__all__ = ["Tls"]


class Tls(Section):
    """Certificates of one side of a TLS connection (PS3.15 annex B)."""

    certificate: Path
    key: Path
    ca: Path | None = None
    """Certificates that the other side's must come from. Without it a server asks for no client certificate."""
