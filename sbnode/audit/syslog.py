"""Sending the audit trail to a syslog server (PS3.15 section A.6: RFC 5424 over TLS, RFC 5425; IHE ITI-20).

Syslog acknowledges nothing: what was handed to the connection just before it broke may be lost. The file of the audit
trail has it.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress

from sbnode import metrics
from sbnode.audit.record import Record, to_xml
from sbnode.config import Syslog
from sbnode.errors import ConfigError
from sbnode.log import fault, get_logger
from sbnode.tls import client_context

__all__ = ["SyslogSender", "connect", "disconnect", "frame", "message"]

_SECURITY, _WARNING, _NOTICE = 10, 4, 5
"""Facility, and severities of failures and of all else (PS3.15 section A.6)."""
_MESSAGE_ID = "DICOM+RFC3881"
_BYTE_ORDER_MARK = "\ufeff"

_MAX_WAITING = 10_000
"""Records that wait for the server, of some 1.5 kB each: 15 MB."""
_TIMEOUT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_CLOSE_S = 5.0
_GOODBYE_S = 0.5
"""Some servers close without an answer to the end of TLS."""


def message(record: Record) -> bytes:
    """Return the SYSLOG-MSG of a record (RFC 5424 section 6)."""
    priority = 8 * _SECURITY + (_WARNING if record.outcome else _NOTICE)
    host = re.sub(r"[^!-~]", "_", record.source)[:255] or "-"
    header = f"<{priority}>1 {record.time} {host} sbnode {record.process_id} {_MESSAGE_ID} -"
    return f"{header} {_BYTE_ORDER_MARK}{to_xml(record)}".encode()


def frame(content: bytes) -> bytes:
    """Return a message with its length in octets before it (RFC 5425 section 4.3)."""
    return b"%d %b" % (len(content), content)


def connect(settings: Syslog) -> socket.socket:
    """Open a connection; over TLS the server's certificate must be valid for ``settings.host``.

    Raises:
        OSError: the server can't be reached, or its certificate or ours is refused.
    """
    context = _context(settings)
    connection = socket.create_connection((settings.host, settings.port), _TIMEOUT_S)
    try:
        # What isn't acknowledged for so long makes the next write fail (RFC 5482).
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * _TIMEOUT_S))
        return context.wrap_socket(connection, server_hostname=settings.host) if context else connection
    except OSError:
        connection.close()
        raise


def disconnect(connection: socket.socket) -> None:
    """Close a connection; TLS is ended first (RFC 5425 section 4.4)."""
    with suppress(OSError):
        if isinstance(connection, ssl.SSLSocket):
            connection.settimeout(_GOODBYE_S)
            connection.unwrap()
    connection.close()


class SyslogSender:
    """Sends records from a thread of its own; they wait in memory while the server is away.

    Raises:
        ConfigError: a certificate or key can't be used.
    """

    def __init__(self, settings: Syslog) -> None:
        try:
            _context(settings)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"audit.syslog: the certificate, key or ca can't be used: {reason}") from error
        self._settings = settings
        self._waiting: deque[Record] = deque()
        self._changed = threading.Condition()
        self._end_s: float | None = None
        self._connection: socket.socket | None = None
        self._failing = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="audit-syslog", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Have the record sent. Returns at once; when too many wait already, the record is dropped and counted."""
        with self._changed:
            full = len(self._waiting) >= _MAX_WAITING
            if not full:
                self._waiting.append(record)
                self._changed.notify()
        if full:
            self._drop(1)

    def close(self, grace_s: float = _CLOSE_S) -> None:
        """Send what waits, for ``grace_s`` at most, and end the thread. What is left over is dropped and counted."""
        with self._changed:
            self._end_s = time.monotonic() + grace_s
            self._changed.notify()
        self._thread.join(grace_s)
        if self._thread.is_alive():  # it waits for the server, and ends with the process
            self._drop(len(self._waiting))

    def _run(self) -> None:
        pause_s = 0.0
        while self._due(pause_s):
            try:
                self._send(self._waiting[0])
            except Exception as error:
                # The thread's boundary: whatever went wrong, the record stays first in the queue.
                self._disconnect()
                self._failed(error)
                pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            else:
                self._waiting.popleft()
                pause_s = 0.0
        self._disconnect()
        self._drop(len(self._waiting))

    def _due(self, pause_s: float) -> bool:
        """Wait for ``pause_s`` and then for a record; return False when it is time to end."""
        with self._changed:
            if pause_s:
                self._changed.wait_for(lambda: self._end_s is not None, pause_s)
            self._changed.wait_for(lambda: self._waiting or self._end_s is not None)
            if self._end_s is None:
                return True
            # While closing, one failure is enough: nobody will wait for the server to come back.
            return bool(self._waiting) and not pause_s and time.monotonic() < self._end_s

    def _send(self, record: Record) -> None:
        if self._connection is not None and _is_closed(self._connection):
            self._disconnect()
        if self._connection is None:
            self._connection = connect(self._settings)
        self._connection.sendall(frame(message(record)))
        metrics.AUDIT_SYSLOG.labels("sent").inc()
        if self._failing:
            get_logger().info("audit_syslog_resumed", dropped=self._dropped)
            self._failing, self._dropped = False, 0

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            reason = error.strerror if isinstance(error, OSError) else None
            get_logger().error("audit_syslog_unavailable", host=self._settings.host, cause=reason, **fault(error))
        self._failing = True

    def _drop(self, count: int) -> None:
        if not count:
            return
        metrics.AUDIT_SYSLOG.labels("dropped").inc(count)
        with self._changed:
            first = not self._dropped
            self._dropped += count
        if first:
            get_logger().error("audit_syslog_dropped", records=count)

    def _disconnect(self) -> None:
        if self._connection is not None:
            disconnect(self._connection)
            self._connection = None


def _context(settings: Syslog) -> ssl.SSLContext | None:
    return client_context(settings.ca, settings.certificate, settings.key) if settings.tls else None


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server closed the connection. It never says anything else."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(_TIMEOUT_S)
