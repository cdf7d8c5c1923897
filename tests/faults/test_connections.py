"""Connections that are many, silent, slow or broken off: the node serves on and holds no more than before."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults import recording
from tests.faults.receiving import CALLING, HELD_UP_S, MIB, Receiving, found_no_place, receiving
from tests.faults.recording import REQUEST
from tests.integration.peers import HOST, PATIENCE_S, free_port, wait_until
from tests.scp.certificates import authority, issued
from tests.scp.conftest import associate
from tests.scp.instances import ct_slice

LONG = pytest.mark.faults
GROWTH_BYTES = 24 * MIB
"""Of allocators and caches. What leaked a thread's stack or a socket's buffer per connection would take hundreds."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Receiving]]:
    with ExitStack() as stack:
        yield lambda **sections: stack.enter_context(receiving(tmp_path / "node", **sections))


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=[LONG, pytest.mark.timeout(1800)])])
def test_probes_leave_nothing_behind(node: Callable[..., Receiving], count: int) -> None:
    running = node()
    running.require_alive()
    probe(running.port, 1000)
    wait_until(lambda: running.vitals.threads < 12, 60, "the first threads ended")
    before = running.vitals
    started = time.monotonic()
    probe(running.port, count)
    seconds = time.monotonic() - started
    wait_until(lambda: running.vitals.threads <= before.threads, 60, f"their threads ended: {running.vitals}")
    after = running.vitals
    print(f"{count} connections in {seconds:.0f} s; before {before}; after {after}")
    assert after.descriptors <= before.descriptors + 1
    assert after.resident_bytes <= before.resident_bytes + GROWTH_BYTES
    assert running.require_alive() < HELD_UP_S
    running.require_clean()


def probe(port: int, count: int) -> None:
    """Connect and close, as load balancers do."""
    for _ in range(count):
        socket.create_connection((HOST, port), timeout=PATIENCE_S).close()


@pytest.mark.parametrize(
    "count", [pytest.param(50, id="50"), pytest.param(150, id="150"), pytest.param(200, marks=LONG)]
)
def test_silent_tls_clients_keep_nobody_out(node: Callable[..., Receiving], tmp_path: Path, count: int) -> None:
    """More than the connections that may be silent at a time: the oldest of them gives way."""
    ca = authority(tmp_path)
    server = issued(tmp_path, "server", ca)
    port = free_port()
    files = {"certificate": str(server.certificate), "key": str(server.key)}
    running = node(node={"tls_port": port, "tls": files})
    context = ssl.create_default_context(cafile=ca.certificate)
    with ExitStack() as stack:
        for number in range(count):
            silent = stack.enter_context(socket.create_connection((HOST, port), timeout=PATIENCE_S))
            if number % 2:
                silent.sendall(b"\x16\x03\x01")  # the beginning of a ClientHello
        taken_s = [running.require_alive(port, context) for _ in range(5)]
        print(f"{count} silent TLS clients: {running.vitals}; a sender takes {max(taken_s):.2f} s")
    assert max(taken_s) < HELD_UP_S
    running.require_clean()


def test_silent_clients_are_closed_in_time(node: Callable[..., Receiving]) -> None:
    running = node(receive={"network_timeout_s": 10, "max_associations": 2})
    before = running.vitals
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((HOST, running.port))) for _ in range(50)]
        running.require_alive(at_once=True)
        assert is_open(silent[-1]), "the sender had to wait until the silent ones were gone"
        started = time.monotonic()
        for connection in silent:
            require_closed(connection, HELD_UP_S)
        print(f"50 silent clients: all closed after {time.monotonic() - started:.1f} s")
    wait_until(lambda: running.vitals.threads <= before.threads, PATIENCE_S, "their threads ended")
    running.require_clean()


def is_open(connection: socket.socket) -> bool:
    """Whether the peer has yet to say anything, or to close the connection."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        pass
    return False


def require_closed(connection: socket.socket, within_s: float) -> None:
    """Fail unless the peer closes the connection, by an A-ABORT or without a word."""
    connection.settimeout(within_s)
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass


def store_message() -> bytes:
    """P-DATA-TF PDUs of a C-STORE request in context 1."""
    return b"".join(recording.store(1, ct_slice(size=64)).pdus())


def stop_within_a_pdu(association: Any) -> None:
    association.dul.socket.socket.sendall(store_message()[:-100])


def stop_between_pdus(association: Any) -> None:
    content = store_message()
    (length,) = struct.unpack(">L", content[2:6])
    association.dul.socket.socket.sendall(content[: 6 + length])


def stop_at_once(_: Any) -> None:
    pass


@pytest.mark.parametrize("stop", [stop_within_a_pdu, stop_between_pdus, stop_at_once])
def test_senders_that_stop_use_up_no_association_for_ever(
    node: Callable[..., Receiving], stop: Callable[[Any], None]
) -> None:
    running = node(receive={"network_timeout_s": 10, "max_associations": 3})
    stuck = [associate(running.port, calling=CALLING) for _ in range(3)]
    for association in stuck:
        stop(association)
    assert found_no_place(associate(running.port, calling=CALLING)), "there was a place beside the three"
    started = time.monotonic()
    wait_until(lambda: serves(running), PATIENCE_S, "their places are free again", every_s=0.3)
    print(f"{stop.__name__}: three places free after {time.monotonic() - started:.1f} s")
    running.require_alive()
    for association in stuck:
        association.abort()
    running.require_clean()


def serves(running: Receiving) -> bool:
    association = associate(running.port, calling=CALLING)
    if association.is_established:
        association.release()
        return True
    return False


@pytest.mark.parametrize("begin", [b"", b"\x01\x00\x00\x00\x01\x00", b"\x04\x00\x00\x00\x01\x00"])
def test_clients_that_drip_bytes_are_cut_off_and_take_no_place(node: Callable[..., Receiving], begin: bytes) -> None:
    """One byte at a time keeps a socket's own timeout from ever ending; the whole PDU has a time instead."""
    running = node(receive={"network_timeout_s": 3, "max_associations": 2})
    with ExitStack() as stack:
        dripping = [stack.enter_context(socket.create_connection((HOST, running.port))) for _ in range(20)]
        for connection in dripping:
            connection.sendall(begin)
        started = time.monotonic()
        open_still = set(dripping)
        while open_still and time.monotonic() - started < PATIENCE_S:
            for connection in list(open_still):
                try:
                    connection.sendall(b"\x01")
                except OSError:
                    open_still.discard(connection)
            assert running.require_alive() < HELD_UP_S
            time.sleep(0.5)
        print(f"20 dripping clients cut off after {time.monotonic() - started:.1f} s")
        assert not open_still
    running.require_clean()


def test_an_association_that_drips_fragments_is_cut_off(node: Callable[..., Receiving]) -> None:
    """Each PDU is whole and comes in time, the message never ends; so it may last as long as it likes, but a few
    such senders must not take all places."""
    running = node(receive={"network_timeout_s": 2, "max_associations": 2})
    fragment = struct.pack(">BBLLBB", 4, 0, 7, 3, 1, 0) + b"\0"
    with ExitStack() as stack:
        dripping = [stack.enter_context(established(running.port)) for _ in range(2)]
        started = time.monotonic()
        while dripping and time.monotonic() - started < PATIENCE_S:
            dripping = [connection for connection in dripping if is_taken(connection, fragment)]
            time.sleep(0.3)
        print(f"associations that drip fragments were ended after {time.monotonic() - started:.1f} s")
        assert not dripping
    running.require_alive()
    running.require_clean()


def established(port: int) -> socket.socket:
    """A connection with an association on it, without a library that ends it."""
    connection = socket.create_connection((HOST, port), timeout=PATIENCE_S)
    connection.sendall(REQUEST)
    (kind, _, length) = struct.unpack(">BBL", connection.recv(6, socket.MSG_WAITALL))
    assert kind == 2, "the association was not accepted"
    connection.recv(length, socket.MSG_WAITALL)
    return connection


def is_taken(connection: socket.socket, content: bytes) -> bool:
    try:
        connection.sendall(content)
    except OSError:
        return False
    return True


def test_a_client_that_never_reads_its_answers_is_cut_off(node: Callable[..., Receiving]) -> None:
    running = node(receive={"network_timeout_s": 2, "max_associations": 1})
    connection = established(running.port)
    connection.settimeout(5)
    (echo,) = recording.echo().pdus()
    started = time.monotonic()
    while is_taken(connection, echo * 100):
        assert time.monotonic() - started < 60, "it still takes requests"
    started = time.monotonic()
    wait_until(lambda: serves(running), PATIENCE_S, "its place is free again", every_s=0.5)
    print(f"a client that doesn't read: its place was free after {time.monotonic() - started:.1f} s; {running.vitals}")
    connection.close()
    running.require_alive()
    running.require_clean()
