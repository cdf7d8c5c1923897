"""The archive of the node that is examined."""

from __future__ import annotations

from tests.faults.conftest import archive, archive_port

__all__ = ["archive", "archive_port"]
