"""The archive of the nodes that are started as they are deployed."""

from __future__ import annotations

from tests.faults.conftest import archive, archive_port

__all__ = ["archive", "archive_port"]
