"""Destinations that misbehave, all at once, beside one that doesn't: who waits, who is tried again, what is dropped."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt

from sbnode.jobs.client import Item
from tests.integration.peers import HOST, free_port, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node
from tests.jobs.fakes import OBJECTS

pytestmark = [
    *MORTAL,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


TIMEOUT_S = 2
ATTEMPTS = 3


class Listener:
    """A TCP port whose connections are given to ``treat``, each in a thread of its own."""

    def __init__(self, treat: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server((HOST, 0))
        self.port = int(self._socket.getsockname()[1])
        self._treat = treat
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._treat(connection)

    def close(self) -> None:
        self._socket.close()


def says_nothing(connection: socket.socket) -> None:
    time.sleep(60)


def hangs_up(connection: socket.socket) -> None:
    connection.recv(10)


def talks_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def reads_a_byte_a_second(connection: socket.socket) -> None:
    while connection.recv(1):
        time.sleep(1)


def peer(answer: Callable[[Any], int], **options: Any) -> Any:
    """A pynetdicom peer on a free port that answers a C-STORE by ``answer(event)``."""
    entity = AE(ae_title="OTHER")
    entity.require_called_aet = options.get("called") is not None
    if options.get("called"):
        entity.ae_title = options["called"]
    for sop_class in options.get("classes", OBJECTS.values()):
        entity.add_supported_context(sop_class)
    return entity.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])


def never_answers(event: Any) -> int:
    time.sleep(30)
    return 0x0000


def aborts(event: Any) -> int:
    event.assoc.abort()
    return 0x0000


def full_at_first() -> Callable[[Any], int]:
    answers = iter([0xA700, 0xA700])
    return lambda _: next(answers, 0x0000)


EXPECTED = {
    "down": "given up after 3 attempts",
    "silent": "given up after 3 attempts",
    "hanging-up": "given up after 3 attempts",
    "nonsense": "given up after 3 attempts",
    "slow": "given up after 3 attempts",
    "rejecting": "given up after 3 attempts",
    "unanswering": "given up after 3 attempts",
    "aborting": "given up after 3 attempts",
    "full-at-first": "",
    "warning": "",
    "duplicate": "",
    "refusing": "refused",
    "without-the-class": "refused",
}
"""What becomes of the objects of each destination: the beginning of a dead letter's reason, or nothing where they are
delivered."""


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    with ExitStack() as stack:
        listeners = {
            "silent": says_nothing,
            "hanging-up": hangs_up,
            "nonsense": talks_nonsense,
            "slow": reads_a_byte_a_second,
        }
        found = {"down": free_port()}
        for name, treat in listeners.items():
            listener = Listener(treat)
            stack.callback(listener.close)
            found[name] = listener.port
        servers = {
            "rejecting": peer(lambda _: 0x0000, called="SOMEBODY"),
            "unanswering": peer(never_answers),
            "aborting": peer(aborts),
            "full-at-first": peer(full_at_first()),
            "warning": peer(lambda _: 0xB000),
            "duplicate": peer(lambda _: 0x0111),
            "refusing": peer(lambda _: 0x0122),
            "without-the-class": peer(lambda _: 0x0000, classes=["1.2.840.10008.1.1"]),
        }
        for name, server in servers.items():
            stack.callback(server.shutdown)
            found[name] = server.server_address[1]
        yield found


def test_each_destination_gets_what_it_takes_and_none_waits_for_another(
    tmp_path: Path, archive: Archive, archive_port: int, ports: dict[str, int]
) -> None:
    assert set(ports) == set(EXPECTED)
    others = [{"name": name, "port": port, "timeout_s": TIMEOUT_S} for name, port in ports.items()]
    node = Node(tmp_path, archive_port, attempts=ATTEMPTS, others=others)
    try:
        node.start()
        assert len(node.try_to_send()) == 45
        wait_until(lambda: "job_done" in node.log(), START_S, "the job is done")
        wait_until(lambda: len(archive.received) == 2, START_S, "both objects at the good archive")
        others_now = [item for name in WAITED_FOR for item in deliveries(node.items()).get(name, [])]
        assert {"queued", "running"} & {item.state for item in others_now}, "it waited for the others"
        wait_until(lambda: all(item.state in ("done", "dead letter") for item in node.items()), START_S, "all ended")
        ended = deliveries(node.items())
        assert {name: len(ended[name]) for name in EXPECTED} == dict.fromkeys(EXPECTED, 2)
        for name, reason in EXPECTED.items():
            for item in ended[name]:
                assert item.state == ("dead letter" if reason else "done"), (name, item)
                assert item.reason.startswith(reason), (name, item.reason)
        again = Archive(ports["down"])
        try:
            job = next(item.job for item in node.items() if item.kind == "process")
            said = node.command("jobs", "retry", f"{job}.down")
            assert sorted(said.stdout.split()) == sorted(
                ["queued", "again:"] * 2 + [f"{job}.down.{o}" for o in OBJECTS]
            )
            wait_until(lambda: len(again.received) == 2, START_S, "both objects at the one that was down")
        finally:
            again.close()
    finally:
        node.close()


WAITED_FOR = ("silent", "slow", "unanswering")
"""Each attempt with these waits until ``TIMEOUT_S`` is over, so an object takes some seven seconds."""


def deliveries(items: list[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        if item.kind == "deliver":
            found.setdefault(item.id.split(".")[1], []).append(item)
    return found
