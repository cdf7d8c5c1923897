"""TCP and TLS connections under the associations, where no peer can stop or starve the others.

pynetdicom reads a PDU of whatever length the peer claims, waits for it without end, and shakes hands for
TLS within its accept loop, so that one silent client stops the server. Here every PDU has a greatest length
and a time, and the handshake happens with the first read, in the thread of the association.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom.transport import ThreadedAssociationServer

from sbnode.log import fault, get_logger
from sbnode.scp.reactor import AssociationHandler

__all__ = ["GIVING_WAY", "AssociationServer", "accept_tls_from"]

_PDU_HEAD_BYTES = 6
_CONTROL_PDU_BYTES = 1_000_000
"""An A-ASSOCIATE-RQ with 128 contexts of 40 transfer syntaxes has half of this."""
_PDV_HEAD_BYTES = 12
"""Some peers count the PDV item headers out of the maximum length (PS3.8 D.1)."""
_READ_BYTES = 131_072
GIVING_WAY = 32
"""So many connections that were broken off may still have their threads; they count in pynetdicom's limit."""


class _PduStream:
    """Makes the many small reads of pynetdicom few large ones, and never reads beyond the end of a PDU.

    So select() on the socket stays true: between two PDUs nothing is held back here.
    """

    def __init__(self, limit_bytes: int, timeout_s: float) -> None:
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._head = b""
        self._rest_bytes = 0
        self._deadline_s = 0.0
        self.silent = True
        """No whole PDU has come yet."""
        self.last_s = time.monotonic()
        """When something came last."""

    def read(self, receive: Callable[[int], bytes], size: int) -> bytes:
        """Return the next bytes of the current PDU (PS3.8 section 9.3.1), taking them with ``receive``.

        Of its head they are ``size`` at most; of the rest as many as there are: pynetdicom asks for 4096 again and
        again, and takes all that it gets.

        Raises:
            OSError: the PDU is longer than allowed or took longer than allowed, or the connection broke. On
                each of them pynetdicom gives the association up as aborted.
        """
        if not self._rest_bytes:
            return self._begin(receive(min(size, _PDU_HEAD_BYTES - len(self._head))))
        if time.monotonic() > self._deadline_s:
            raise TimeoutError("a PDU took too long")
        chunk = receive(min(self._rest_bytes, _READ_BYTES))
        self._rest_bytes = self._rest_bytes - len(chunk) if chunk else 0
        self.silent = self.silent and (self._rest_bytes > 0 or not chunk)
        self.last_s = time.monotonic()
        return chunk

    def _begin(self, received: bytes) -> bytes:
        if not self._head:
            self._deadline_s = time.monotonic() + self._timeout_s
        self._head += received
        if len(self._head) == _PDU_HEAD_BYTES:
            self._rest_bytes = struct.unpack(">BBL", self._head)[2]
            self._head = b""
            if self._rest_bytes > self._limit_bytes:
                raise OSError("a PDU is longer than the maximum length")
        return received


class _PduSocket(socket.socket):
    pdus: _PduStream | None = None
    host: str = ""

    def shutdown(self, how: int, /) -> None:
        # pynetdicom closes only what it could shut down, and a probe's connection is gone by then.
        with suppress(OSError):
            super().shutdown(how)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return super().recv(bufsize) if self.pdus is None else self.pdus.read(super().recv, bufsize)


class _PduTlsSocket(ssl.SSLSocket):
    pdus: _PduStream | None = None
    host: str = ""

    def shutdown(self, how: int) -> None:
        with suppress(OSError):
            super().shutdown(how)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return super().recv(buflen) if self.pdus is None else self.pdus.read(super().recv, buflen)


def accept_tls_from(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make the sockets of ``context`` read PDU by PDU."""
    context.sslsocket_class = _PduTlsSocket
    return context


class AssociationServer(ThreadedAssociationServer):
    """Accepts connections and starts one association on each; made by
    ``AE.make_server(server_class=...)``.
    """

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **{**keywords, "request_handler": AssociationHandler})
        self._silent: list[_PduSocket | _PduTlsSocket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; never wait for what its peer sends."""
        accepted, address = cast(socket.socket, self.socket).accept()
        connection: _PduSocket | _PduTlsSocket = _PduSocket(fileno=accepted.detach())
        try:
            # Without it, the delayed acknowledgement of the peer holds up each answer for 40 ms (RFC 896).
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(self.ae.network_timeout)
            if self.ssl_context is not None:
                wrapped = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                connection = cast(_PduTlsSocket, wrapped)
        except OSError:
            connection.close()
            raise
        limit_bytes = max(_CONTROL_PDU_BYTES, self.ae.maximum_pdu_size + _PDV_HEAD_BYTES)
        connection.pdus = _PduStream(limit_bytes, cast(float, self.ae.network_timeout))
        connection.host = str(address[0])
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Make room for a connection: where too many are open, one that has said nothing yet gives way.

        It is the oldest one of the host that has most of them, so that who opens many keeps out nobody else. Where none
        can give way, or those that did aren't gone yet, the new connection is closed at once.
        """
        self._silent = [c for c in self._silent if c.fileno() >= 0 and c.pdus is not None and c.pdus.silent]
        surplus = len(self.active_associations) + 1 + GIVING_WAY - self.ae.maximum_associations
        if surplus > 0 and (surplus > GIVING_WAY or not self._give_way()):
            return False
        self._silent.append(request)
        return True

    def _give_way(self) -> bool:
        """Break off one silent connection; return whether there was one."""
        if not self._silent:
            return False
        ((host, _),) = Counter(connection.host for connection in self._silent).most_common(1)
        oldest = next(connection for connection in self._silent if connection.host == host)
        self._silent.remove(oldest)
        with suppress(OSError):
            # Not TLS's own shutdown: another thread may be within the handshake.
            socket.socket.shutdown(oldest, socket.SHUT_RDWR)
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with one connection; the others go on."""
        error = sys.exc_info()[1]
        if error is not None:
            get_logger().error("connection_failed", **fault(error))

    def shutdown(self) -> None:
        """Stop accepting and close the port. Associations go on."""
        # Not pynetdicom's own, which needs the server to be in a private list of the AE.
        BaseServer.shutdown(self)
        self.server_close()
