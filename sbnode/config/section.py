"""What every section of the configuration is, and the values that several of them have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["LOCAL", "AeTitle", "Name", "Port", "Section"]

AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x20-\x5b\x5d-\x7e]{1,16}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Hosts that are this machine: nobody reads or changes on the way what goes there."""


class Section(BaseModel):
    """Frozen, and knows its keys: any other is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")
