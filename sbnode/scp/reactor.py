"""Has the two threads of an association wait for what happens, instead of looking for it every millisecond.

As pynetdicom runs them, an idle association wakes up 2,000 times a second, and every request and answer lies for a
millisecond before it is seen (its issue 917). What idle ones cost now: `python -m benchmarks.receive`.
"""

from __future__ import annotations

import os
import queue
import select
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import RequestHandler

from sbnode.log import fault, get_logger
from sbnode.scp.messages import P_DATA_TF, DataTransfer, Messages

__all__ = ["AssociationHandler"]

T = TypeVar("T")

_LONGEST_WAIT_S = 0.1
"""Timers and ends that nobody announces are looked at this often."""
_CLOSED_WAIT_S = 0.005
_SENDING = ("Sta6", "Sta8")
"""The states in which a message can be sent (PS3.8 table 9-10). In others, an answer is for nobody any more."""


class _Bell:
    """Wakes a thread that waits for it or for a socket."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, os.close, self._fd)

    def ring(self) -> None:
        """Wake the one that waits, or the next one that will."""
        with self._lock:
            if self._close.alive:
                os.eventfd_write(self._fd, 1)

    def wait(self, connection: Any, seconds: float) -> None:
        """Wait until it rings, ``connection`` has something to read, or ``seconds`` are over.

        Raises:
            OSError, ValueError: ``connection`` is closed.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(connection, select.POLLIN)
        if any(fd == self._fd for fd, _ in poll.poll(seconds * 1000)):
            with suppress(BlockingIOError):
                os.eventfd_read(self._fd)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            self._close()


class _Announced(queue.Queue[T], Generic[T]):
    """A queue that says so when something was put in."""

    def __init__(self, announce: Any) -> None:
        super().__init__()
        self._announce = announce

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._announce()


class _UpperLayer(DULServiceProvider):
    """The thread that reads and writes the connection (PS3.8 section 9.2)."""

    def __init__(self, association: Association, happened: threading.Event) -> None:
        super().__init__(association)
        self.daemon = True
        self._bell = _Bell()
        self.to_provider_queue = _Announced(self._bell.ring)
        self.to_user_queue = _Announced(happened.set)
        self._run_loop_delay = 0  # it waits here:

    def _process_recv_primitive(self) -> bool:
        if not self.event_queue.empty():
            return True  # what has happened comes first: it may end the association
        if self.state_machine.current_state not in _SENDING:
            with suppress(IndexError):
                while isinstance(self.to_provider_queue.queue[0], P_DATA):
                    self.to_provider_queue.get()
        return bool(super()._process_recv_primitive())

    def _is_transport_event(self) -> bool:
        connection = self.socket.socket if self.socket else None
        try:
            if connection is None:
                time.sleep(_CLOSED_WAIT_S)
            elif self.event_queue.empty() and not (isinstance(connection, ssl.SSLSocket) and connection.pending()):
                self._bell.wait(connection, _LONGEST_WAIT_S)
        except (OSError, ValueError):
            time.sleep(_CLOSED_WAIT_S)  # closed meanwhile; what follows notices
        return bool(super()._is_transport_event())

    def _decode_pdu(self, bytestream: bytearray) -> Any:
        if bytestream[0] != P_DATA_TF:
            return super()._decode_pdu(bytestream)
        pdu = DataTransfer.of(bytestream)
        evt.trigger(self.assoc, evt.EVT_PDU_RECV, {"pdu": pdu})
        return pdu, "Evt10"

    def stop_dul(self) -> bool:
        if self.state_machine.current_state != "Sta1":
            return False
        self._kill_thread = True
        self._bell.ring()
        self.join()
        return True

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self._bell.close()


class _Messages(Messages):
    """Hands whole messages to the thread that answers them."""

    def __init__(self, association: Association, happened: threading.Event) -> None:
        super().__init__(association)
        self._happened = happened
        self.msg_queue = _Announced(happened.set)

    def get_msg(self, block: bool = False) -> Any:
        # Without `block`, the thread of the association asks, which looks after releases and aborts too.
        if not block and self._happened.wait(_LONGEST_WAIT_S):
            self._happened.clear()
        found = super().get_msg(block)
        if not self.msg_queue.empty():
            self._happened.set()
        return found


def _serve_all(association: Association, serve: Callable[[Any, int], None], message: Any, context_id: int) -> None:
    """Serve a request and those that follow it. Between two of them, pynetdicom's own loop sleeps for a millisecond.

    A report of a commitment comes in a thread of its own, which takes no other request.
    """
    _serve(association, serve, message, context_id)
    while threading.current_thread() is association and association.is_established and _is_open(association):
        number, following = association.dimse.get_msg()
        if number is None:
            return
        _serve(association, serve, following, number)


def _serve(association: Association, serve: Callable[[Any, int], None], message: Any, context_id: int) -> None:
    try:
        serve(message, context_id)
    except Exception as error:  # the thread would end, and leave the connection open for ever
        get_logger().error("association_aborted", reason="a request that can't be served", **fault(error))
        association.abort(block=False)


def _is_open(association: Association) -> bool:
    """Whether an answer still reaches the peer: after an abort, by either side, what it sent is for nobody."""
    return association.dul.state_machine.current_state in _SENDING


class AssociationHandler(RequestHandler):
    """Makes the association of a connection."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        happened = threading.Event()
        upper_layer = _UpperLayer(association, happened)
        upper_layer.socket, upper_layer.event_queue = association.dul.socket, association.dul.event_queue
        association.dul = upper_layer
        association.dimse = _Messages(association, happened)
        association._serve_request = partial(_serve_all, association, association._serve_request)  # type: ignore[method-assign]
        # These set the timers of the upper layer.
        association.acse_timeout = association.acse_timeout
        association.network_timeout = association.network_timeout
        return association
