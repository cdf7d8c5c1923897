"""HTTP connections in bounds: they share the descriptors of the process that receives, and uvicorn bounds neither their
number nor how long a client takes for a request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["BACKLOG", "Connection"]

BACKLOG = 16
"""So many connections are accepted at a stroke, before any is looked at."""
_LARGEST_NUMBER = 100
"""A browser opens six, a Prometheus one."""
_REQUEST_S = 10.0
"""A client that takes longer than this, and up to twice as long, for one request is cut off."""


class Connection(H11Protocol):
    """One connection. Where there are too many, the oldest of the host that has most gives way."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._since_s = self.loop.time()
        self._slow = False
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it."""
        super().connection_made(transport)
        self._look = self.loop.call_later(_REQUEST_S, self._look_again)
        if len(self.connections) > _LARGEST_NUMBER:
            self._oldest_of_the_busiest().transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    @property
    def host(self) -> str:
        """Who is at the other end."""
        return self.client[0] if self.client else ""

    def _oldest_of_the_busiest(self) -> Connection:
        others = [cast(Connection, one) for one in self.connections if not cast(Connection, one).transport.is_closing()]
        ((host, _),) = Counter(one.host for one in others).most_common(1)
        return min((one for one in others if one.host == host), key=lambda one: one._since_s)

    def _look_again(self) -> None:
        # Between two requests, uvicorn's own timer for that runs.
        waits = self.cycle is None or self.timeout_keep_alive_task is None
        slow = waits and self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if slow and (self._slow or self.cycle is None):
            self.transport.abort()
            return
        self._slow = slow
        self._look = self.loop.call_later(_REQUEST_S, self._look_again)
