"""Associations that the node requests of a destination."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from sbnode import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sbnode.config import Peer, Tls
from sbnode.errors import ConfigError, DestinationRefused, DestinationUnavailable
from sbnode.tls import client_context

__all__ = ["association"]


@contextmanager
def association(
    destination: Peer,
    contexts: Sequence[PresentationContext],
    calling_ae_title: str,
    *,
    handlers: Sequence[EventHandlerType] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    answer_s: float | None = None,
) -> Iterator[Association]:
    """Request an association with ``destination`` and release it afterwards.

    ``handlers`` are of what it may request on it; ``roles`` are proposed beside the contexts (PS3.7 D.3.3.4);
    ``answer_s`` is how long an answer may take, instead of ``destination.timeout_s``.

    Raises:
        DestinationUnavailable: no connection, no answer in time, association rejected or aborted.
        DestinationRefused: the destination accepted none of ``contexts``.
        ConfigError: the destination's certificates can't be read.
    """
    connected = Event()
    requested = _request(destination, contexts, calling_ae_title, connected, handlers, roles, answer_s)
    if not requested.is_established:
        raise _failure(requested, destination, connected.is_set())
    try:
        yield requested
    except RuntimeError as error:
        # pynetdicom's word for an association that ended between negotiation and request.
        if requested.is_established:
            raise
        raise DestinationUnavailable(f"{_where(destination)} broke off before it was asked or sent anything") from error
    finally:
        if requested.is_established:
            requested.release()


def _request(
    destination: Peer,
    contexts: Sequence[PresentationContext],
    calling_ae_title: str,
    connected: Event,
    handlers: Sequence[EventHandlerType],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
    answer_s: float | None,
) -> Association:
    entity = AE(ae_title=calling_ae_title)
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    # pynetdicom waits for ever for a connection unless told otherwise.
    entity.connection_timeout = destination.timeout_s
    entity.acse_timeout = destination.timeout_s
    entity.dimse_timeout = entity.network_timeout = answer_s or destination.timeout_s
    tls = (_tls_context(destination.tls), destination.host) if destination.tls else None
    try:
        return entity.associate(
            destination.host,
            destination.port,
            contexts=list(contexts),
            ae_title=destination.ae_title,
            tls_args=tls,
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_CONN_OPEN, _on_connection, [connected]), *handlers],
        )
    except OSError as error:
        raise DestinationUnavailable(
            f"{_where(destination)}: the host name could not be resolved; check 'host'"
        ) from error


class _Answers(DIMSEServiceProvider):
    """Leaves every answer to the call that waits for it.

    pynetdicom's thread of the association looks for requests among them. On a busy machine it does so a moment too
    late and takes an answer away, and the call waits for it until its time is up. No peer requests anything of a
    requestor but N-EVENT-REPORT, which doesn't come this way.
    """

    def get_msg(self, block: bool = False) -> Any:
        return super().get_msg(block) if block else (None, None)


def _on_connection(event: evt.Event, connected: Event) -> None:
    connected.set()
    event.assoc.dimse = _Answers(event.assoc)
    # Nagle's algorithm and delayed acknowledgements together cost 40 ms per message (400 slices: 20 s).
    wrapper = event.assoc.dul.socket
    if wrapper is not None and wrapper.socket is not None:
        wrapper.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # pynetdicom takes the limit away once it is connected, and then waits for ever within a PDU.
        wrapper.socket.settimeout(event.assoc.network_timeout)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """With ``ca`` the certificate must come from it, for any host name."""
    try:
        context = client_context(tls.ca, tls.certificate, tls.key)
        context.check_hostname = tls.ca is None
    except OSError as error:
        raise ConfigError(f"tls of a destination: certificate, key or ca can't be used: {error}") from error
    return context


def _failure(requested: Association, destination: Peer, connected: bool) -> DestinationUnavailable | DestinationRefused:
    where = _where(destination)
    if not connected:
        return DestinationUnavailable(f"{where} can't be reached; is it up, and are host and port right?")
    if requested.rejected_contexts and not requested.accepted_contexts:
        wanted = UID(str(requested.rejected_contexts[0].abstract_syntax))
        return DestinationRefused(f"{where} accepted no presentation context for {wanted.name}")
    if requested.is_rejected:
        answer = requested.acceptor.primitive
        reason = answer.reason_str if answer is not None else "no reason given"
        return DestinationUnavailable(f"{where} rejected the association: {reason}")
    return DestinationUnavailable(f"{where} broke off or gave no answer to the association request")


def _where(destination: Peer) -> str:
    return f"{type(destination).__name__.lower()} '{destination.name}' ({destination.host}:{destination.port})"
