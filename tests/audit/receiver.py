"""A syslog server over TLS that reads by octet counting (RFC 5425 section 4.3), for one test."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress

from tests.integration.peers import HOST


class SyslogServer:
    """Takes what comes to a port; ``context`` None: without TLS."""

    def __init__(self, context: ssl.SSLContext | None, port: int = 0) -> None:
        self.messages: list[bytes] = []
        self.faults: list[Exception] = []
        self._context = context
        self._open: list[socket.socket] = []
        self._listening = socket.create_server((HOST, port))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
                self._open.append(connection)
                self._read(connection)
            except (OSError, ValueError) as error:
                self.faults.append(error)
                connection.close()

    def _read(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while first := stream.read(1):
                length = first
                while (digit := stream.read(1)) != b" ":
                    length += digit
                assert first != b"0"
                content = stream.read(int(length))
                assert len(content) == int(length)
                self.messages.append(content)
