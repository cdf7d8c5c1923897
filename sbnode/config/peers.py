"""Whom the node calls: archives that studies come from, and destinations of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from sbnode.config.section import LOCAL, AeTitle, Name, Port, Section
from sbnode.config.tls import Tls

__all__ = ["Archive", "Destination", "Peer", "ResultObject", "WebDestination"]

ResultObject = Literal["seg", "stl", "sr", "preview", "fine", "labelmap"]


class Peer(Section):
    """A DICOM Application Entity that the node calls."""

    name: Name
    ae_title: AeTitle
    host: str
    port: Port
    calling_ae_title: AeTitle | None = None
    """AE title that the node calls itself there; default: its own."""
    tls: Tls | None = None
    timeout_s: float = Field(30.0, gt=0)


class Archive(Peer):
    """An archive that studies come from: it knows how many instances a series has (C-FIND), and asks for proof."""

    retrieve: bool = False
    """Fetch what is missing of a series by C-MOVE; the archive must know this node's AE title and port."""


class Destination(Peer):
    """A DICOM Application Entity that receives results."""

    objects: tuple[ResultObject, ...] = ("seg", "stl", "sr", "preview")
    confirm: Literal["accepted", "commitment", "query"] = "accepted"
    """When an object counts as delivered: its C-STORE was accepted; or, beyond that, the destination committed to its
    storage (PS3.4 annex J), or lists it in a C-FIND.
    """
    confirm_within_s: float = Field(3600.0, gt=0)
    """So long it may take to do so; then the object is sent again, three times in all."""


class WebDestination(Section):
    """A DICOMweb service that receives results by STOW-RS (PS3.18 section 10.5)."""

    name: Name
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+[^\s?#]*$")]
    """Root of the service; ``/studies`` comes after it."""
    objects: tuple[ResultObject, ...] = ("seg", "stl", "sr", "preview")
    confirm: Literal["accepted", "query"] = "accepted"
    """When an object counts as delivered: it was accepted; or, beyond that, it is listed by QIDO-RS."""
    confirm_within_s: float = Field(3600.0, gt=0)
    token_file: Path | None = None
    """File with a bearer token."""
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    """Certificates that the service's must come from; default: the system's authorities."""
    certificate: Path | None = None
    """Client certificate, with its key."""
    key: Path | None = None
    timeout_s: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _credentials_fit(self) -> WebDestination:
        parts = urlsplit(self.url)
        if "@" in parts.netloc:
            raise ValueError("url must not hold a user or password: use user and password_file, or token_file")
        if not parts.hostname or parts.port == 0:  # reading port also refuses what is no number
            raise ValueError("url names no host or a wrong port")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        if self.user is not None and self.token_file is not None:
            raise ValueError("give a token or a user, not both")
        secret = self.user is not None or self.token_file is not None
        if secret and parts.scheme == "http" and parts.hostname not in LOCAL:
            raise ValueError("a token or password over http:// can be read on the way; use https://")
        return self
