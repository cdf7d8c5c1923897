"""The DICOM Application Entity that receives: one port for plain connections, and one for TLS when
configured.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import cast

from pynetdicom import AE, _config
from pynetdicom.association import Association

from sbnode import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sbnode.config import Config
from sbnode.errors import ConfigError
from sbnode.scp.completion import ExpectedCount, Retrieve
from sbnode.scp.handlers import Handlers
from sbnode.scp.observer import Observer, Silent
from sbnode.scp.presentation import presentation_contexts
from sbnode.scp.tls import Certificates
from sbnode.scp.transport import GIVING_WAY, AssociationServer
from sbnode.scp.watch import CompletionWatch, OnStudyComplete, OnTheirWay
from sbnode.series import SeriesKey
from sbnode.spool import Spool

__all__ = ["Receiver"]

_ARTIM_S = 30.0
"""How long a connection may stay open without an A-ASSOCIATE-RQ (PS3.8 section 9.1.5)."""
_MAX_SILENT_CONNECTIONS = 100
"""Probes, and clients that said nothing yet: each has two threads for up to ``_ARTIM_S``."""
_POLL_S = 0.2
_QUIET_S = 15.0
"""Longer than scanners pause within a series."""


class Receiver:
    """Answers C-ECHO and C-STORE, and says which studies are complete.

    Args:
        config: the sections ``node`` and ``receive`` are used.
        spool: where instances and commitments are kept; it is written in the threads of the associations.
        on_study_complete: called with a Study Instance UID and the series that became complete, from one
            thread;
            again whenever late instances completed. When it raises, it is called again after a while.
        observer: counts and audits.
        expected_count: asks an archive how many instances a series has.
        retrieve: has an archive send a series again of which instances are missing.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        on_study_complete: OnStudyComplete,
        observer: Observer | None = None,
        expected_count: ExpectedCount | None = None,
        retrieve: Retrieve | None = None,
    ) -> None:
        self._config = config
        observer = observer or Silent()
        self._watch = CompletionWatch(
            config.receive.completion, on_study_complete, observer, expected_count, retrieve, spool.count
        )
        self._handlers = Handlers(config, spool.store, spool.commitments, self._watch, observer)
        self._ae = _application_entity(config)
        self._certificates: Certificates | None = None
        self._servers: list[AssociationServer] = []
        self._threads: list[threading.Thread] = []

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that are listened to: the plain one, then the one for TLS."""
        return tuple(server.server_address[1] for server in self._servers)

    def start(self, stored: Mapping[SeriesKey, int] | None = None) -> None:
        """Open the ports. ``stored`` is ``Spool.stored()``: what an earlier process may have left
        unprocessed.

        Raises:
            ConfigError: a port is in use, the address isn't ours, or a certificate can't be used.
        """
        node = self._config.node
        # pynetdicom formats a record for each PDU and message, with UIDs in it; ours say what matters.
        _config.LOG_HANDLER_LEVEL = "none"
        try:
            if node.port is not None:
                self._listen(node.port, None)
            if node.tls is not None and node.tls_port is not None:
                self._certificates = Certificates(node.tls)
                self._listen(node.tls_port, self._certificates.context)
        except ConfigError:
            self._close()
            raise
        self._watch.start(stored or {})
        for server in self._servers:
            thread = threading.Thread(
                target=server.serve_forever, args=(_POLL_S,), name="association-server", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def use(self, config: Config) -> None:
        """Decide by ``config`` who may send, for the associations to come."""
        self._config = config
        self._handlers.use(config)

    @property
    def callers(self) -> Mapping[str, int]:
        """How many associations each calling AE title has open."""
        return self._handlers.callers()

    @property
    def on_their_way(self) -> OnTheirWay:
        """What was received and isn't in the queue yet; times are of `time.monotonic`."""
        return self._watch.on_their_way

    @property
    def certificate_end_s(self) -> float | None:
        """When the certificate that is shown ends, in seconds since 1970; None without TLS."""
        return None if self._certificates is None else self._certificates.not_after_s

    def renew_certificates(self) -> bool:
        """Use the TLS files as they are now for the associations to come; return whether they have changed.

        Raises:
            ConfigError: they have changed and one can't be used; the certificates of before stay.
        """
        if self._certificates is None or not self._certificates.renew():
            return False
        for server in self._servers:
            if server.ssl_context is not None:
                server.ssl_context = self._certificates.context
        return True

    def stop(self, grace_s: float = 10.0) -> None:
        """Close the ports, let associations end within ``grace_s``, abort the others.

        One that has been quiet for ``_QUIET_S`` is aborted at once: archives keep theirs open for hours.
        """
        if self._threads:
            for server in self._servers:
                server.shutdown()
        deadline_s = time.monotonic() + grace_s
        while (open_ones := self._ae.active_associations) and time.monotonic() < deadline_s:
            for association in open_ones:
                if self._handlers.is_quiet(association, _QUIET_S):
                    _end(association)
            time.sleep(_POLL_S)
        for association in self._ae.active_associations:
            _end(association)
        self._watch.stop()
        self._servers, self._threads = [], []

    def _listen(self, port: int, context: ssl.SSLContext | None) -> None:
        host = self._config.node.host
        try:
            server = self._ae.make_server(
                (host, port),
                ssl_context=context,
                evt_handlers=self._handlers.bindings(),
                server_class=AssociationServer,
            )
        except OSError as error:
            raise ConfigError(f"can't listen on {host} port {port}: {error.strerror}") from error
        self._servers.append(cast(AssociationServer, server))

    def _close(self) -> None:
        for server in self._servers:
            server.server_close()
        self._servers = []


def _end(association: Association) -> None:
    if association.is_established:
        association.abort()
    elif association.dul.socket is not None and association.dul.socket.socket is not None:
        # Without a request there is nothing to abort (PS3.8 table 9-10, state 2): close the connection.
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)


def _application_entity(config: Config) -> AE:
    receive = config.receive
    entity = AE(ae_title=config.node.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.supported_contexts = presentation_contexts()
    # Connections without an association are counted here too; the associations themselves, in the handlers.
    entity.maximum_associations = receive.max_associations + _MAX_SILENT_CONNECTIONS + GIVING_WAY
    entity.maximum_pdu_size = receive.max_pdu_bytes
    entity.network_timeout = receive.network_timeout_s
    entity.acse_timeout = min(_ARTIM_S, receive.network_timeout_s)
    entity.dimse_timeout = receive.network_timeout_s
    return entity
