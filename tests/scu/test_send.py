"""C-STORE and C-ECHO against real peers: DCMTK's storescp and pynetdicom."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from pynetdicom import build_context
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.dul import DULServiceProvider
from pynetdicom.sop_class import Verification

from sbnode.config import Destination
from sbnode.errors import DestinationRefused, DestinationUnavailable, SpoolError
from sbnode.scu import send
from sbnode.scu.association import association
from sbnode.scu.echo import echo
from sbnode.scu.send import Meaning, meaning
from tests.integration.peers import listens, program, wait_until
from tests.jobs.fakes import Peer, free_port, result_object

# pynetdicom leaves closing the socket of a refused connection to the interpreter.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def destination(port: int, timeout_s: float = 5) -> Destination:
    return Destination(name="pacs", ae_title="PEER", host="127.0.0.1", port=port, timeout_s=timeout_s)


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    return result_object(tmp_path / "seg.dcm", "seg", "ab")


@pytest.fixture
def stl(tmp_path: Path) -> Path:
    return result_object(tmp_path / "stl.dcm", "stl", "ab")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Meaning.DELIVERED),
        (0xB000, Meaning.WARNED),
        (0xB006, Meaning.WARNED),
        (0xB007, Meaning.WARNED),
        (0x0111, Meaning.WARNED),
        (0x0122, Meaning.REFUSED),
        (0xA900, Meaning.REFUSED),
        (0xA9FF, Meaning.REFUSED),
        (0xC000, Meaning.REFUSED),
        (0xCFFF, Meaning.REFUSED),
        (0xA700, Meaning.UNAVAILABLE),
        (0x0110, Meaning.UNAVAILABLE),
        (0x0124, Meaning.UNAVAILABLE),
        (0xFE00, Meaning.UNAVAILABLE),
    ],
)
def test_every_status_has_one_meaning(status: int, expected: Meaning) -> None:
    assert meaning(status) is expected


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """DCMTK's storescp, and the folder it writes to. It takes any storage class that it knows."""
    received = tmp_path / "received"
    received.mkdir()
    port = free_port()
    process = subprocess.Popen(
        [program("storescp", "dcmtk"), "-od", str(received), "-aet", "PEER", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: listens(port), 30, "storescp listens")
    yield port, received
    process.terminate()
    process.wait(10)


@pytest.mark.integration
def test_dcmtk_gets_the_object_that_was_sent(storescp: tuple[int, Path], seg: Path) -> None:
    port, received = storescp
    assert send.store(seg, destination(port), "SBNODE") == 0x0000
    wait_until(lambda: any(received.iterdir()), 10, "a file")
    got = pydicom.dcmread(next(received.iterdir()))
    sent = pydicom.dcmread(seg)
    assert got == sent
    assert got.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID


@pytest.mark.integration
def test_dcmtk_answers_echo(storescp: tuple[int, Path]) -> None:
    echo(destination(storescp[0]), "SBNODE")


def test_a_refused_class_is_permanent_and_names_the_class(stl: Path, seg: Path) -> None:
    port = free_port()
    peer = Peer(port, refuse="stl")
    try:
        with pytest.raises(DestinationRefused, match="no presentation context for Encapsulated STL Storage"):
            send.store(stl, destination(port), "SBNODE")
        assert send.store(seg, destination(port), "SBNODE") == 0x0000
    finally:
        peer.close()


@pytest.mark.parametrize(
    ("status", "error"), [(0xA700, DestinationUnavailable), (0xC000, DestinationRefused), (0xB000, None)]
)
def test_the_answer_decides(seg: Path, status: int, error: type[Exception] | None) -> None:
    port = free_port()
    peer = Peer(port, statuses=[status])
    try:
        if error is None:
            assert send.store(seg, destination(port), "SBNODE") == status
        else:
            with pytest.raises(error, match=f"0x{status:04X}"):
                send.store(seg, destination(port), "SBNODE")
    finally:
        peer.close()


def test_nobody_there_may_be_tried_again(seg: Path) -> None:
    with pytest.raises(DestinationUnavailable, match="can't be reached; is it up"):
        send.store(seg, destination(free_port()), "SBNODE")
    with pytest.raises(DestinationUnavailable, match="can't be reached"):
        echo(destination(free_port()), "SBNODE")


def test_a_silent_peer_costs_its_timeout_and_no_more(seg: Path) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as silent,
        pytest.raises(DestinationUnavailable, match="gave no answer"),
    ):
        send.store(seg, destination(silent.getsockname()[1], timeout_s=0.5), "SBNODE")


def test_a_missing_result_is_no_fault_of_the_destination(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"gone\.dcm"):
        send.store(tmp_path / "gone.dcm", destination(1), "SBNODE")


def test_an_answer_waits_for_the_call_that_asked(tmp_path: Path) -> None:
    """pynetdicom's own thread took one away now and then, and the sending then waited for it in vain."""
    port = free_port()
    peer = Peer(port)
    try:
        contexts = [build_context(Verification)]
        with association(destination(port), contexts, "SBNODE") as requested:
            answer = (1, C_ECHO())
            requested.dimse.msg_queue.put(answer)
            time.sleep(0.2)
            assert list(requested.dimse.msg_queue.queue) == [answer]
            assert requested.dimse.get_msg(block=True) == answer
            assert requested.send_c_echo().Status == 0x0000
    finally:
        peer.close()


@pytest.mark.parametrize(
    "half", [b"\x02\x00\x00\x00\x01\x00half of an A-ASSOCIATE-AC", b"\x04\x00"], ids=["body", "head"]
)
@pytest.mark.timeout(60)
def test_a_peer_that_stops_within_a_pdu_holds_nobody_up(half: bytes) -> None:
    """pynetdicom waited for its rest for ever, and the process couldn't end any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def serve() -> None:
            taken.append(server.accept()[0])
            taken[0].sendall(half)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(DestinationUnavailable):
            echo(destination(server.getsockname()[1], timeout_s=1), "SBNODE")
        thread.join()
        taken[0].close()
    wait_until(
        lambda: not [t for t in threading.enumerate() if isinstance(t, DULServiceProvider)], 10, "no thread stays"
    )
