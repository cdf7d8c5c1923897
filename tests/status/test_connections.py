"""Who opens many connections to the status page, or drips into one, takes nothing from those who want to see it."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection

import httpx
import pytest
from prometheus_client import CollectorRegistry

from sbnode.config import Status
from sbnode.status import StatusServer
from tests.integration.peers import free_port, wait_until

connections = sys.modules["sbnode.status.connections"]


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    server = StatusServer(Status(port=number), CollectorRegistry(), lambda: {})
    server.start()
    wait_until(lambda: _answers(number), 10, "it answers")
    yield number
    server.stop()


def _answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    return False


def _closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_many_silent_connections_keep_nobody_out_and_take_few_descriptors(port: int) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(400)]
        assert _answers(port)
        wait_until(lambda: sum(map(_closed, opened)) >= 300, 10, "the oldest have given way")
        assert descriptors() - before - len(opened) < 130
        assert not _closed(opened[-1])


def test_a_client_that_drips_a_request_is_cut_off_and_one_that_asks_now_and_then_is_not(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_REQUEST_S", 0.3)
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    with (
        socket.create_connection(("127.0.0.1", port)) as silent,
        socket.create_connection(("127.0.0.1", port)) as dripping,
        closing(HTTPConnection("127.0.0.1", port, timeout=5)) as asking,
    ):
        asking.connect()
        kept = asking.sock
        for number in range(6):
            asking.request("GET", "/healthz")
            assert asking.getresponse().read() == b"ok\n"
            with suppress(OSError):
                dripping.sendall(head if number == 0 else b"X-More: 1\r\n")
            time.sleep(0.2)
        assert _closed(silent)
        assert _closed(dripping)
        assert asking.sock is kept


def test_a_body_that_never_ends_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_REQUEST_S", 0.2)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
        wait_until(lambda: _closed_or_answered(connection), 5, "it is cut off")


def _closed_or_answered(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return not connection.recv(4096)
    except TimeoutError:
        return False
    except OSError:
        return True
