"""The HTTP server of the node, in a thread of its own."""

from __future__ import annotations

import socket
from threading import Thread

import uvicorn
from prometheus_client import CollectorRegistry

from sbnode.config import Status
from sbnode.errors import ConfigError
from sbnode.status.accounts import read_accounts
from sbnode.status.application import Checks, application
from sbnode.status.connections import BACKLOG, Connection
from sbnode.status.pages import PageSource

__all__ = ["StatusServer"]


class StatusServer:
    """Serves the application in a thread of its own.

    Raises:
        ConfigError: the address or a file with a password can't be used.
    """

    def __init__(
        self, settings: Status, registry: CollectorRegistry, checks: Checks, source: PageSource | None = None
    ) -> None:
        accounts = read_accounts(settings)
        try:
            self._socket = socket.create_server((settings.host, settings.port))
        except OSError as error:
            raise ConfigError(
                f"status.port: {settings.host}:{settings.port} can't be used ({error.strerror}); "
                "choose another port or end the process that has it"
            ) from error
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(registry, checks, accounts, source),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                http=Connection,
                backlog=BACKLOG,
                # A proxy on this machine is believed in whose name it asks; another one is asked about itself.
                proxy_headers=True,
                forwarded_allow_ips=["127.0.0.1", "::1"],
            )
        )
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="status", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what is being asked, then end."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._socket.close()
