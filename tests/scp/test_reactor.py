"""Associations that wait for what happens: nothing is lost, late, or kept when they end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import CTImageStorage, Verification

from sbnode.scp.reactor import AssociationHandler


class _Server:
    def __init__(self, seconds: float = 0.0) -> None:
        self.entity = AE("NODE")
        self.entity.add_supported_context(Verification)
        self.entity.add_supported_context(CTImageStorage)
        self.seconds = seconds
        self.server = self.entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, self._echo)]
        )
        self.server.RequestHandlerClass = AssociationHandler
        self.port = self.server.server_address[1]

    def _echo(self, _: evt.Event) -> int:
        time.sleep(self.seconds)
        return 0x0000


@pytest.fixture
def server():
    served = _Server()
    yield served
    served.server.shutdown()


def _associate(port: int):
    entity = AE("ME")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port)
    assert association.is_established
    return association


def _wait(condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_an_association_answers_and_ends(server):
    association = _associate(server.port)
    assert [association.send_c_echo().Status for _ in range(20)] == [0] * 20
    association.release()
    assert association.is_released
    assert _wait(lambda: not server.entity.active_associations)


def test_an_answer_that_takes_longer_than_any_wait_still_comes(server):
    server.seconds = 0.3
    association = _associate(server.port)
    assert association.send_c_echo().Status == 0
    association.release()


def test_an_abort_by_either_side_ends_the_threads(server):
    first, second = _associate(server.port), _associate(server.port)
    first.abort()
    assert _wait(lambda: len(server.entity.active_associations) == 1)
    server.entity.active_associations[0].abort()
    assert _wait(lambda: second.is_aborted)
    assert _wait(lambda: not server.entity.active_associations)
    assert _wait(lambda: not [t for t in threading.enumerate() if t.name.startswith("AcceptorThread")])


def test_an_answer_in_an_association_that_was_just_aborted_is_no_fault(server):
    """Found on a busy machine: the thread of the connection died of pynetdicom's InvalidEventError."""
    association = _associate(server.port)
    upper_layer = server.entity.active_associations[0].dul
    answer = P_DATA()
    answer.presentation_data_value_list.append((1, b"\x03"))
    upper_layer.event_queue.put("Evt19")  # an invalid PDU came
    upper_layer.send_pdu(answer)
    assert _wait(lambda: association.is_aborted)
    assert _wait(lambda: not upper_layer.is_alive())
    assert _wait(lambda: not server.entity.active_associations)


def test_a_silent_association_is_aborted_in_time(server):
    server.entity.network_timeout = 0.5
    association = _associate(server.port)
    assert _wait(lambda: association.is_aborted)


def test_associations_that_ended_keep_no_descriptor(server):
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def once() -> None:
        association = _associate(server.port)
        association.send_c_echo()
        association.release()

    once()
    assert _wait(lambda: not server.entity.active_associations)
    before = descriptors()
    for _ in range(10):
        once()
    assert _wait(lambda: not server.entity.active_associations)
    assert _wait(lambda: descriptors() <= before)


def test_an_idle_association_costs_next_to_nothing(server):
    """pynetdicom's own threads wake up 2,000 times a second."""
    association = _associate(server.port)
    accepted = server.entity.active_associations[0]
    threads = [thread.native_id for thread in (accepted, accepted.dul)]

    def wakeups() -> int:
        found = 0
        for thread in threads:
            status = Path(f"/proc/self/task/{thread}/status").read_text()
            found += int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
        return found

    before = wakeups()
    time.sleep(1.0)
    assert wakeups() - before < 200
    association.release()
