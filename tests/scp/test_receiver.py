"""What a sender meets: who may associate, what is taken, and with which status the rest is refused."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF

from sbnode.audit import Participant
from sbnode.errors import ConfigError
from sbnode.scp import server
from sbnode.scp.completion import SeriesCompletion
from sbnode.series import SeriesKey
from sbnode.spool import Stored
from tests.conftest import unavailable
from tests.faults import recording
from tests.integration.peers import HOST, PATIENCE_S, wait_until
from tests.scp.conftest import Running, Start, associate
from tests.scp.instances import CANARY, SERIES, STUDY, ct_slice, encoded

KEY = SeriesKey(STUDY, SERIES)


def request(data_set: bytes, uid: str = f"{SERIES}.1", sop_class: str = CTImageStorage) -> C_STORE:
    message = C_STORE()
    message.MessageID = 1
    message.Priority = 0
    message.AffectedSOPClassUID = sop_class
    message.AffectedSOPInstanceUID = uid
    message.DataSet = BytesIO(data_set)
    return message


def send(
    association: Association, data_set: bytes, uid: str = f"{SERIES}.1", sop_class: str = CTImageStorage
) -> int | None:
    """C-STORE the bytes as they are; the status of the answer, None when there is none."""
    context = next(c for c in association.accepted_contexts if c.abstract_syntax != "1.2.840.10008.1.1")
    with paused(association):
        association.dimse.send_msg(request(data_set, uid, sop_class), context.context_id)
        _, answer = association.dimse.get_msg(block=True)
    return None if answer is None else int(answer.Status)


@contextmanager
def paused(association: Association) -> Iterator[None]:
    """Keep the thread of the association from taking the answer, as pynetdicom's own send_c_store does."""
    association._reactor_checkpoint.clear()
    wait_until(
        lambda: association._is_paused or not association.is_alive(), PATIENCE_S, "the reactor paused", every_s=0.001
    )
    yield
    association._reactor_checkpoint.set()


def send_slice(association: Association, dataset: Dataset) -> int | None:
    return send(association, encoded(dataset), dataset.SOPInstanceUID)


def test_c_echo(start: Start) -> None:
    association = associate(start().port)
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_a_series_is_stored_and_announced(start: Start) -> None:
    running = start()
    association = associate(running.port)
    assert [send_slice(association, ct_slice(number)) for number in range(1, 6)] == [0x0000] * 5
    assert running.studies.empty()
    association.release()
    assert running.studies.get(timeout=PATIENCE_S) == (STUDY, (SeriesCompletion(KEY, "association_end", 5),))
    assert len(running.spool.series(STUDY)[0].instances) == 5
    assert running.observed.completions == [SeriesCompletion(KEY, "association_end", 5)]
    assert [(status, new) for status, _, new in running.observed.answers] == [(0, True)] * 5
    wait_until(lambda: len(running.observed.associations) == 2, PATIENCE_S, "the release was told")
    assert running.observed.associations == [("accepted", "PACS"), ("released", "PACS")]


def test_the_same_series_again_makes_no_work(start: Start) -> None:
    running = start()

    def send_all() -> None:
        association = associate(running.port)
        assert [send_slice(association, ct_slice(number)) for number in (1, 2, 3)] == [0x0000] * 3
        association.release()

    send_all()
    assert running.studies.get(timeout=PATIENCE_S)[0] == STUDY
    send_all()
    time.sleep(0.8)
    assert running.studies.empty()


def test_an_aborted_association_announces_nothing_before_idle_time(start: Start) -> None:
    running = start(completion={"idle_s": 2, "study_settle_s": 0})
    association = associate(running.port)
    for number in (1, 2):
        send_slice(association, ct_slice(number))
    before_the_last_s = time.monotonic()
    send_slice(association, ct_slice(3))
    association.abort()
    assert running.studies.get(timeout=PATIENCE_S)[1][0].reason == "idle"
    assert time.monotonic() - before_the_last_s >= 2
    wait_until(lambda: ("aborted", "PACS") in running.observed.associations, PATIENCE_S, "the abort was told")


def test_a_broken_connection_is_an_abort(start: Start) -> None:
    running = start()
    association = associate(running.port)
    send_slice(association, ct_slice(1))
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: ("aborted", "PACS") in running.observed.associations, PATIENCE_S, "the abort was noticed")


@pytest.mark.parametrize("end", ["release", "abort"])
def test_what_an_association_added_is_told_once_however_it_ends(start: Start, end: str) -> None:
    running = start()
    association = associate(running.port)
    for number in (1, 2, 2):
        send_slice(association, ct_slice(number))
    getattr(association, end)()
    wait_until(lambda: bool(running.observed.transfers), PATIENCE_S, "the transfer was told")
    time.sleep(0.3)
    assert running.observed.transfers == [(Participant("PACS", HOST), {STUDY: 2})]


def test_who_is_turned_away_for_a_title_is_told(start: Start) -> None:
    running = start()
    associate(running.port, calling="STRANGER")
    associate(running.port, called="OTHER")
    wait_until(lambda: len(running.observed.strangers) == 2, PATIENCE_S, "both were told")
    assert running.observed.strangers == [Participant("STRANGER", HOST), Participant("PACS", HOST)]


def test_a_fault_while_completing_does_not_end_completion(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start(completion={"idle_s": 1, "study_settle_s": 0})
    tracker = running.receiver._watch._tracker
    ended = tracker.ended
    faults = iter([RuntimeError(CANARY)])

    def failing(*arguments: object, **keywords: object) -> None:
        for fault in faults:
            raise fault
        ended(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(tracker, "ended", failing)
    association = associate(running.port)
    send_slice(association, ct_slice(1))
    association.release()
    assert running.studies.get(timeout=PATIENCE_S)[1][0].reason == "idle"


def test_studies_of_an_earlier_process_are_announced(start: Start) -> None:
    running = start(stored={KEY: 7}, completion={"idle_s": 0.5, "study_settle_s": 0})
    assert running.studies.get(timeout=PATIENCE_S) == (STUDY, (SeriesCompletion(KEY, "idle", 7),))


@pytest.mark.parametrize(
    ("calling", "called", "allowed", "result"),
    [
        ("STRANGER", "SBNODE", ["PACS"], (1, 1, 3)),
        ("PACS", "SBNODE", [], (1, 1, 3)),
        ("PACS", "OTHER", ["PACS"], (1, 1, 7)),
        ("pacs", "SBNODE", ["PACS"], (1, 1, 3)),
    ],
)
def test_who_isn_t_meant_is_rejected_with_the_reason(
    start: Start, calling: str, called: str, allowed: list[str], result: tuple[int, int, int]
) -> None:
    running = start(calling_ae_titles=allowed)
    association = associate(running.port, calling=calling, called=called)
    answer = association.acceptor.primitive
    assert association.is_rejected
    assert (answer.result, answer.result_source, answer.diagnostic) == result
    assert [outcome for outcome, _ in running.observed.associations] == [
        "rejected_called_ae_title" if result[2] == 7 else "rejected_calling_ae_title"
    ]


def test_the_configured_pdu_length_is_negotiated(start: Start) -> None:
    association = associate(start(max_pdu_bytes=65536).port)
    assert association.acceptor.maximum_length == 65536
    association.release()


def test_any_called_ae_title_when_configured(start: Start) -> None:
    association = associate(start(require_called_ae_title=False).port, called="ANYTHING")
    assert association.is_established
    association.release()


def test_more_associations_than_configured_are_rejected_for_now(start: Start) -> None:
    running = start(max_associations=1)
    first = associate(running.port)
    second = associate(running.port)
    answer = second.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    assert ("rejected_limit", "PACS") in running.observed.associations
    first.release()
    wait_until(lambda: associate(running.port).is_established, PATIENCE_S, "a place is free again", every_s=0.3)


def answer_of(association: Association) -> tuple[int, int, int]:
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_a_known_title_from_an_unknown_network_is_rejected_and_told(start: Start) -> None:
    elsewhere = {"ae_title": "SCANNER1", "networks": ["192.0.2.0/24", "2001:db8::/32"]}
    here = {"ae_title": "SCANNER2", "networks": ["127.0.0.0/8"]}
    running = start(callers=[elsewhere, here])
    rejected = associate(running.port, calling="SCANNER1")
    assert answer_of(rejected) == (1, 1, 3)
    assert running.observed.associations == [("rejected_network", "SCANNER1")]
    wait_until(lambda: bool(running.observed.strangers), PATIENCE_S, "it was told")
    assert running.observed.strangers == [Participant("SCANNER1", HOST)]
    for calling in ("SCANNER2", "PACS"):
        association = associate(running.port, calling=calling)
        assert association.is_established
        association.release()


def test_a_caller_on_an_ipv6_port_is_known_by_its_ipv4_network(start: Start) -> None:
    if not socket.has_dualstack_ipv6():
        unavailable("this machine has no IPv6")
    callers = [
        {"ae_title": "FOUR", "networks": ["127.0.0.0/8"]},
        {"ae_title": "SIX", "networks": ["::1"]},
    ]
    running = start(node={"host": "::"}, callers=callers)
    four = associate(running.port, calling="FOUR")
    assert four.is_established
    send_slice(four, ct_slice(1))
    four.release()
    assert answer_of(associate(running.port, calling="SIX")) == (1, 1, 3)
    wait_until(lambda: bool(running.observed.transfers), PATIENCE_S, "the transfer was told")
    assert running.observed.transfers[0][0] == Participant("FOUR", HOST)
    assert running.observed.strangers == [Participant("SIX", HOST)]
    with socket.create_connection(("::1", running.port), timeout=PATIENCE_S):
        pass


def test_a_caller_takes_no_more_than_its_places(start: Start) -> None:
    running = start(callers=[{"ae_title": "SCANNER1", "max_associations": 1}])
    first = associate(running.port, calling="SCANNER1")
    assert answer_of(associate(running.port, calling="SCANNER1")) == (2, 3, 2)
    assert ("rejected_caller_limit", "SCANNER1") in running.observed.associations
    assert running.observed.strangers == []
    other = associate(running.port)
    assert other.is_established
    other.release()
    first.release()
    wait_until(
        lambda: associate(running.port, calling="SCANNER1").is_established, PATIENCE_S, "a place is free", every_s=0.3
    )


def test_another_sop_class_is_not_accepted_and_the_rest_goes_on(start: Start) -> None:
    association = associate(start().port, sop_class=SecondaryCaptureImageStorage)
    (rejected,) = association.rejected_contexts
    assert rejected.result == 3
    assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize("sop_class", [CTImageStorage, EnhancedCTImageStorage, "1.2.840.10008.5.1.4.1.1.2.2"])
def test_the_ct_classes_are_taken(start: Start, sop_class: str) -> None:
    running = start()
    association = associate(running.port, sop_class=sop_class)
    dataset = ct_slice()
    dataset.SOPClassUID = sop_class
    dataset.Modality = "MR"
    assert send(association, encoded(dataset), sop_class=sop_class) == 0x0000
    association.release()


HOSTILE: list[tuple[str, Callable[[], tuple[bytes, str, str]], int]] = [
    ("cut", lambda: (encoded(ct_slice())[:-100], f"{SERIES}.1", CTImageStorage), 0xC000),
    ("noise", lambda: (bytes(range(256)) * 20, f"{SERIES}.1", CTImageStorage), 0xC000),
    ("nothing", lambda: (b"\0\0", f"{SERIES}.1", CTImageStorage), 0xC000),
    ("path", lambda: (encoded(ct_slice()), "../../../tmp/x", CTImageStorage), 0xC000),
    ("other instance", lambda: (encoded(ct_slice(2)), f"{SERIES}.1", CTImageStorage), 0xC000),
    ("other class", lambda: (encoded(ct_slice()), f"{SERIES}.1", MRImageStorage), 0xA900),
]


@pytest.mark.parametrize(("make", "status"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_what_can_t_be_kept_is_refused_and_the_association_goes_on(
    start: Start, make: Callable[[], tuple[bytes, str, str]], status: int
) -> None:
    running = start()
    association = associate(running.port)
    assert send(association, *make()) == status
    assert running.spool.studies() == ()
    assert send_slice(association, ct_slice()) == 0x0000
    association.release()
    assert running.observed.answers[0][::2] == (status, False)


def test_a_data_set_of_another_class_than_announced_is_refused(start: Start) -> None:
    association = associate(start().port)
    dataset = ct_slice()
    dataset.SOPClassUID = MRImageStorage
    assert send(association, encoded(dataset)) == 0xA900
    association.release()


def test_another_data_set_under_a_used_uid_is_refused(start: Start) -> None:
    running = start()
    association = associate(running.port)
    assert send_slice(association, ct_slice(value=1)) == 0x0000
    assert send_slice(association, ct_slice(value=2)) == 0xC001
    assert send_slice(association, ct_slice(value=1)) == 0x0000
    association.release()
    assert [new for _, _, new in running.observed.answers] == [True, False, False]


def test_a_full_disk_is_out_of_resources(start: Start) -> None:
    association = associate(start(min_free_bytes=10**18).port)
    assert send_slice(association, ct_slice()) == 0xA700
    association.release()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_device_is_out_of_resources_and_reception_resumes(
    start: Start, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    running = start()
    association = associate(running.port)

    def fail(*_: object) -> None:
        raise OSError(code, "device")

    monkeypatch.setattr(os, "link", fail)
    assert send_slice(association, ct_slice()) == 0xA700
    monkeypatch.undo()
    assert send_slice(association, ct_slice()) == 0x0000
    association.release()


def test_a_fault_of_the_node_is_a_status_and_the_node_lives_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = start()

    def broken(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(running.receiver._handlers, "_store", broken)
    association = associate(running.port)
    assert send_slice(association, ct_slice()) == 0xC0FF
    monkeypatch.undo()
    assert send_slice(association, ct_slice()) == 0x0000
    association.release()
    output = "".join(capsys.readouterr())
    assert "instance_refused" in output
    assert "RuntimeError" in output
    assert CANARY not in output


def test_logs_of_refusals_hold_no_patient_data_and_no_uid(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    association = associate(start().port)
    for make in (case[1] for case in HOSTILE):
        send(association, *make())
    send_slice(association, ct_slice(value=1))
    send_slice(association, ct_slice(value=2))
    association.release()
    output = "".join(capsys.readouterr())
    assert output.count("instance_refused") == len(HOSTILE) + 1
    for secret in (CANARY, "CANARY", SERIES, STUDY):
        assert secret not in output


def test_an_instance_above_the_limit_is_aborted(start: Start) -> None:
    running = start(max_instance_bytes=1_000_000)
    association = associate(running.port)
    assert send(association, encoded(ct_slice(size=1024))) is None
    wait_until(lambda: association.is_aborted, PATIENCE_S, "the abort arrived")
    assert running.observed.too_large == ["PACS"]
    association = associate(running.port)
    assert send_slice(association, ct_slice(size=512)) == 0x0000
    association.release()


def test_many_instances_below_the_limit_are_no_trouble(start: Start) -> None:
    association = associate(start(max_instance_bytes=1_000_000).port)
    assert {send_slice(association, ct_slice(number, size=512)) for number in range(1, 8)} == {0x0000}
    association.release()


def test_requests_sent_without_waiting_for_answers_are_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start(max_instance_bytes=1_000_000)
    store = running.spool.store
    monkeypatch.setattr(running.receiver._handlers, "_store", lambda *arguments: (time.sleep(1), store(*arguments))[1])
    association = associate(running.port)
    for number in range(1, 5):
        data_set = encoded(ct_slice(number, size=512))
        association.dimse.send_msg(request(data_set, f"{SERIES}.{number}"), association.accepted_contexts[0].context_id)
    wait_until(lambda: association.is_aborted, PATIENCE_S, "the abort arrived")


@pytest.mark.parametrize("uid", ["", "1." * 40 + "1"])
def test_a_request_whose_uid_can_t_be_answered_is_aborted(start: Start, uid: str) -> None:
    running = start()
    association = associate(running.port)
    message = C_STORE_RQ()
    message.primitive_to_message(request(encoded(ct_slice())))
    message.command_set["AffectedSOPInstanceUID"]._value = uid
    for fragment in message.encode_msg(association.accepted_contexts[0].context_id, 16382):
        association.dul.send_pdu(fragment)
    wait_until(lambda: association.is_aborted, PATIENCE_S, "the abort arrived")
    assert running.spool.studies() == ()
    echo = associate(running.port)
    assert echo.send_c_echo().Status == 0x0000
    echo.release()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_data_sent_before_the_association_is_accepted_counts_for_nobody(start: Start) -> None:
    """Found by fuzzing: such an association ends without a word, and what it held counted for ever."""
    running = start(max_instance_bytes=1_000_000)
    association = associate(running.port)
    head = A_ASSOCIATE_RQ(association.requestor.primitive).encode()
    message = C_STORE_RQ()
    message.primitive_to_message(request(encoded(ct_slice(size=256))))
    body = b""
    for fragment in message.encode_msg(1, 16382):
        pdu = P_DATA_TF()
        pdu.from_primitive(fragment)
        body += pdu.encode()
    for _ in range(20):
        with connect(running.port) as connection:
            connection.sendall(head + body)
            require_closed(connection)
    wait_until(lambda: len(running.receiver._ae.active_associations) == 1, PATIENCE_S, "their threads ended")
    assert send_slice(association, ct_slice(1, size=512)) == 0x0000
    association.release()
    associate(running.port).release()
    held = running.receiver._handlers._intake._held_bytes
    wait_until(lambda: sum(held.values()) == 0, PATIENCE_S, "nothing is held any more")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fragment_of_no_bytes_ends_the_association_and_is_no_fault(start: Start) -> None:
    """Found by fuzzing: it has no Message Control Header (PS3.8 E.2) to look at."""
    running = start()
    faults: list[Exception] = []
    count = running.receiver._handlers.on_pdu

    def watched(event: Event) -> None:
        try:
            count(event)
        except Exception as error:
            faults.append(error)

    association = associate(running.port)
    server = next(iter(running.receiver._handlers._associations))
    server.unbind(evt.EVT_PDU_RECV, count)
    server.bind(evt.EVT_PDU_RECV, watched)
    association.dul.socket.socket.sendall(struct.pack(">BBLLB", 4, 0, 5, 1, 1))
    wait_until(lambda: association.is_aborted, PATIENCE_S, "the abort arrived")
    assert faults == []


def test_another_operation_in_a_context_of_a_storage_class_is_unrecognized(start: Start) -> None:
    """Found by fuzzing: an N-CREATE came to the handler of C-STORE, which failed on it."""
    association = associate(start().port)
    good = recording.store(association.accepted_contexts[0].context_id)
    command = tuple((tag, b"\x40\x01" if tag == 0x00000100 else value) for tag, value in good.command)
    with paused(association):
        association.dul.socket.socket.sendall(b"".join(replace(good, command=command).pdus()))
        _, answer = association.dimse.get_msg(block=True)
    assert answer.Status == 0x0211
    assert send_slice(association, ct_slice()) == 0x0000
    association.release()


CUT_OFF_S = 25
"""Less than the 30 s after which a silent connection is closed in any case."""


def connect(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port))
    connection.settimeout(CUT_OFF_S)
    return connection


def require_closed(connection: socket.socket) -> None:
    """Fail unless the peer closes the connection within ``CUT_OFF_S``, by an A-ABORT or without a word."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass


def test_a_pdu_of_four_gigabytes_is_cut_off_at_its_head(start: Start) -> None:
    with connect(start().port) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 0xFFFFFFFF))
        require_closed(connection)


def test_an_unknown_pdu_is_aborted(start: Start) -> None:
    with connect(start().port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100))
        require_closed(connection)


def test_a_client_that_stops_within_a_pdu_is_cut_off(start: Start) -> None:
    running = start(network_timeout_s=1)
    with connect(running.port) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 200) + b"half")
        require_closed(connection)


def test_a_client_that_drips_a_pdu_is_cut_off(start: Start) -> None:
    running = start(network_timeout_s=1)
    with connect(running.port) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 200))

        def drip() -> bool:
            try:
                connection.sendall(b"x")
            except OSError:
                return True
            return False

        wait_until(drip, CUT_OFF_S, "the connection was closed", every_s=0.2)


def test_a_silent_client_is_cut_off_and_an_idle_association_aborted(start: Start) -> None:
    running = start(network_timeout_s=1)
    association = associate(running.port)
    with connect(running.port) as connection:
        require_closed(connection)
    wait_until(lambda: association.is_aborted, PATIENCE_S, "the abort arrived")


def test_probes_of_a_load_balancer_leave_nothing_behind(start: Start) -> None:
    running = start()
    before = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(3):
        for _ in range(50):
            connect(running.port).close()
        wait_until(lambda: threading.active_count() <= threads, PATIENCE_S, "their threads ended")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_silent_clients_take_no_place_of_an_association(start: Start) -> None:
    running = start(max_associations=1)
    silent = [connect(running.port) for _ in range(10)]
    association = associate(running.port)
    assert association.is_established
    association.release()
    for connection in silent:
        connection.close()


def test_a_port_in_use_is_a_clear_error(start: Start) -> None:
    running = start()
    with pytest.raises(ConfigError, match=f"port {running.port}"):
        start(node={"port": running.port})


def store_slowly(running: Running, monkeypatch: pytest.MonkeyPatch, seconds: float) -> threading.Event:
    """Have the node take so long to store; what is returned is set when it begins to."""
    store, begun = running.spool.store, threading.Event()

    def slowly(*arguments: Any) -> Stored:
        begun.set()
        time.sleep(seconds)
        return store(*arguments)

    monkeypatch.setattr(running.receiver._handlers, "_store", slowly)
    return begun


def test_stop_lets_an_association_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_QUIET_S", 1.5)
    running = start()
    association = associate(running.port)
    begun = store_slowly(running, monkeypatch, 1)
    context = association.accepted_contexts[0].context_id
    with paused(association):
        association.dimse.send_msg(request(encoded(ct_slice())), context)
        assert begun.wait(PATIENCE_S)
        running.receiver.stop(grace_s=PATIENCE_S)
        assert association.dimse.get_msg(block=True)[1].Status == 0x0000
    assert running.spool.studies() == (STUDY,)
    with pytest.raises(ConnectionRefusedError):
        connect(association.acceptor.port)


def test_stop_waits_for_no_association_that_has_long_been_quiet(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives keep theirs open, and a stop took all of its time for them."""
    monkeypatch.setattr(server, "_QUIET_S", 0.5)
    running = start()
    quiet, busy = associate(running.port), associate(running.port)
    begun = store_slowly(running, monkeypatch, 2)
    context = busy.accepted_contexts[0].context_id
    with paused(busy):
        busy.dimse.send_msg(request(encoded(ct_slice())), context)
        assert begun.wait(PATIENCE_S)
        stopping = threading.Thread(target=running.receiver.stop, args=(60,))
        stopping.start()
        assert busy.dimse.get_msg(block=True)[1].Status == 0x0000
        wait_until(lambda: quiet.is_aborted, PATIENCE_S, "the quiet one is aborted")
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()


def test_who_is_sending_what_is_told_while_they_do(start: Start) -> None:
    running = start()
    assert running.receiver.callers == {}
    association = associate(running.port)
    send_slice(association, ct_slice(1))
    wait_until(lambda: bool(running.receiver.on_their_way.series), PATIENCE_S, "the series is on its way")
    (series,) = running.receiver.on_their_way.series
    assert (series.key, series.instances, series.reason) == (SeriesKey(STUDY, SERIES), 1, None)
    assert running.receiver.callers == {"PACS": 1}
    association.release()
    wait_until(lambda: running.receiver.callers == {}, PATIENCE_S, "nobody sends")


def test_a_queue_that_fails_is_offered_the_study_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sbnode.scp.watch._NEXT_OFFER_S", 0.5)
    running = start()
    offers: list[str] = []

    def fail_once(study: str, series: tuple[SeriesCompletion, ...]) -> None:
        offers.append(study)
        if len(offers) == 1:
            raise RuntimeError("the database is locked")

    monkeypatch.setattr(running.receiver._watch, "_on_study_complete", fail_once)
    association = associate(running.port)
    for number in (1, 2, 3):
        send_slice(association, ct_slice(number))
    association.release()
    wait_until(lambda: len(offers) == 2, PATIENCE_S, "the study was offered again")
    time.sleep(1)
    assert offers == [STUDY] * 2


def test_implicit_and_explicit_proposed_together_are_kept_explicit(start: Start, tmp_path: Path) -> None:
    association = associate(start().port, ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    assert association.accepted_contexts[0].transfer_syntax == [ExplicitVRLittleEndian]
    association.release()
