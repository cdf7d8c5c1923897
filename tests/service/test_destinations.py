"""Whether destinations answer: by C-ECHO and by HTTP, all at once, and forgotten when they leave the configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from threading import Thread
from typing import ClassVar

import pytest

from sbnode.config import Config
from sbnode.service.destinations import DestinationWatch
from tests.jobs.fakes import Peer, free_port


class Service(BaseHTTPRequestHandler):
    """Answers each query with the status that stands in the class."""

    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def configured(
    port: int | None = None, web_port: int | None = None, timeout_s: float = 5, every_s: float | None = 1
) -> Config:
    return Config.model_validate(
        {
            "destinations": [
                {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "timeout_s": timeout_s}
            ]
            if port
            else [],
            "web_destinations": [{"name": "cloud", "url": f"http://127.0.0.1:{web_port}/dicom-web"}]
            if web_port
            else [],
            "monitoring": {"destination_check_s": every_s},
        }
    )


def never() -> bool:
    return False


def test_one_that_answers_one_that_is_down_and_one_that_comes_back() -> None:
    port = free_port()
    watch = DestinationWatch(configured(port))
    assert watch.up() == {}
    watch.turn(never)
    assert watch.up() == {"pacs": False}
    assert "pacs" in str(watch.faults()["pacs"])
    peer = Peer(port)
    try:
        watch.use(configured(port))
        watch.turn(never)
    finally:
        peer.close()
    assert watch.up() == {"pacs": True}


@pytest.mark.parametrize(
    ("status", "up"), [(200, True), (405, True), (501, True), (401, False), (404, False), (503, False)]
)
def test_a_web_service_is_up_when_a_delivery_would_not_have_to_wait(
    service: int, monkeypatch: pytest.MonkeyPatch, status: int, up: bool
) -> None:
    monkeypatch.setattr(Service, "status", status)
    watch = DestinationWatch(configured(web_port=service))
    watch.turn(never)
    assert watch.up() == {"cloud": up}


def test_a_silent_one_is_down_and_delays_neither_the_others_nor_the_end(service: int) -> None:
    with create_server(("127.0.0.1", 0)) as silent:
        config = configured(silent.getsockname()[1], service, timeout_s=60)
        watch = DestinationWatch(config)
        ends_at = time.monotonic() + 0.5
        watch.turn(lambda: time.monotonic() > ends_at)
        assert watch.up() == {}  # the look was broken off
        patient = DestinationWatch(configured(silent.getsockname()[1], service, timeout_s=0.5))
        patient.turn(never)
        assert patient.up() == {"pacs": False, "cloud": True}


def test_they_are_looked_at_as_often_as_configured_and_not_at_all_without(
    service: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    watch = DestinationWatch(configured(web_port=service, every_s=60), clock=lambda: now_s)
    watch.turn(never)
    monkeypatch.setattr(Service, "status", 503)
    now_s += 59
    watch.turn(never)
    assert watch.up() == {"cloud": True}
    now_s += 1
    watch.turn(never)
    assert watch.up() == {"cloud": False}
    watch.use(configured(web_port=service, every_s=None))
    watch.turn(never)
    assert watch.up() == {}


def test_those_that_leave_the_configuration_are_forgotten_and_the_others_not(service: int) -> None:
    watch = DestinationWatch(configured(free_port(), service))
    watch.turn(never)
    assert watch.up() == {"pacs": False, "cloud": True}
    watch.use(configured(web_port=service))
    assert watch.up() == {"cloud": True}
