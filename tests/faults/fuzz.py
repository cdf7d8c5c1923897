"""A fuzzer of the receiving process: good associations, mutated, and what must hold after each batch of them.

    python -m tests.faults.fuzz --cases 1000000 --seed 1     # make fuzz
    python -m tests.faults.fuzz --seed 1 --only 4711         # one case again, in this process
    python -m tests.faults.fuzz --seed 1 --only 12 --socket  # one case again, over a socket

Most cases go through handlers and spool in this process, some over sockets to a ``sbnode serve``. Case n of seed s is
always the same.
"""

from __future__ import annotations

import argparse
import io
import random
import select
import shutil
import socket
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.presentation import build_context
from pynetdicom.transport import AddressInformation

from sbnode import log
from sbnode.config import Config, Log
from sbnode.scp.handlers import Handlers
from sbnode.scp.messages import P_DATA_TF, DataSet, DataTransfer, Messages
from sbnode.scp.observer import Silent
from sbnode.scp.transport import _PduStream
from sbnode.scp.watch import CompletionWatch
from sbnode.spool import Spool
from tests.faults import recording
from tests.faults.mutation import Mutator
from tests.faults.receiving import MIB, SECRETS, SETTINGS, Receiving, Vitals, receiving, require_whole
from tests.faults.recording import CALLED, CALLING, CONTEXTS, REQUEST
from tests.integration.peers import HOST, wait_until
from tests.scp.instances import ct_slice

STORE_STATUSES = frozenset({0x0000, 0xA700, 0xA900, 0xC000, 0xC001})
"""What docs/receiving.md promises; 0xC0FF, a fault of the node, is a finding."""
COMMITMENT_STATUSES = frozenset({0x0000, 0x0124, 0x0115})
LIBRARY_STATUSES = frozenset({0x0112, 0x0113, 0x0117, 0x0118, 0x0119, 0x0122, 0x0123, 0x0211, 0x0212})
"""Failures of PS3.7 annex C that pynetdicom answers itself."""
BATCH = 5_000
SOCKET_BATCH = 200
SLOW_S = 5.0
"""More of a processor's time than this for one case is a fault ..."""
HUNG_S = 60.0
"""... and more than this by the clock, however busy the machine is."""
SOCKET_SHARE = 0.002
CLIENTS = 8
PDU_LIMIT_BYTES = 1_000_000


@dataclass
class Outcome:
    """How many cases ended how, and what should not have been."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def found(self, name: str, what: str) -> None:
        self.findings.append(f"{name}: {what}")
        print(f"FOUND {name}: {what}", flush=True)

    def require_none(self) -> None:
        assert not self.findings, "\n".join(self.findings[:20])


def case(seed: int, number: int) -> Mutator:
    """What makes case ``number`` of ``seed``."""
    return Mutator(random.Random(f"{seed}:{number}"))


class _Unconnected(Association):
    """An association without threads and socket: its events are made by hand."""

    def abort(self) -> None:
        self.is_aborted = True

    def kill(self) -> None:
        self._kill = True


class InProcess:
    """Handlers over a spool in memory, driven without sockets or threads."""

    def __init__(self, folder: Path) -> None:
        receive = {**SETTINGS, "max_associations": 100}
        self.config = Config.model_validate({"node": {"ae_title": CALLED}, "receive": receive})
        self.spool = Spool(folder, 0, self.config.receive.max_instance_bytes)
        self._watch = CompletionWatch(self.config.receive.completion, lambda *_: None, Silent())
        self.handlers = Handlers(self.config, self.spool.store, self.spool.commitments, self._watch, Silent())
        self._ae = AE(ae_title=CALLED)
        self._good = 0
        self._sender = self._association()
        self._sender.requestor.primitive = _request(REQUEST)
        self.handlers.on_requested(Event(self._sender, evt.EVT_REQUESTED))

    def run(self, mutator: Mutator, level: float) -> str:
        """Do one case; return how it ended."""
        return self._store(mutator.store()) if level < 0.8 else self._stream(b"".join(mutator.association()))

    def between(self) -> None:
        """What threads do meanwhile; then fail unless the spool is whole, and empty it."""
        self._watch._turn()
        require_whole(self.spool.path)
        for study in self.spool.studies():
            self.spool.remove_study(study, time.time() + 1)
        held = sum(self.handlers._intake._held_bytes.values())
        assert held == 0, f"{held} bytes count as held"

    def require_alive(self) -> None:
        self._good += 1
        status = self._store(recording.store(1, ct_slice(self._good, study="1.2.9", series="1.2.9.1")))
        assert status == "0x0000", f"a good instance is answered with {status}"

    def _association(self) -> Any:
        association = _Unconnected(self._ae, "acceptor")
        association.requestor.ae_title = CALLING
        association.requestor.address_info = AddressInformation(HOST, 104)
        for event, handler in self.handlers.bindings():
            association.bind(event, handler)
        association.acse = _Rejections()  # type: ignore[assignment]
        association.dimse = Messages(association)
        association._accepted_cx = {}
        for number, (abstract, transfer) in CONTEXTS.items():
            association._accepted_cx[number] = _context(number, abstract, transfer)
        return association

    def _store(self, message: recording.Message) -> str:
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID = CTImageStorage
        uid = next(value for tag, value in message.command if tag == 0x00001000)
        request.AffectedSOPInstanceUID = uid.rstrip(b"\0").decode()
        request.DataSet = DataSet()
        request.DataSet.append(memoryview(message.data_set or b""))
        abstract, transfer = CONTEXTS[message.context_id]
        context = _context(message.context_id, abstract, transfer).as_tuple
        status = self.handlers.on_c_store(
            Event(self._sender, evt.EVT_C_STORE, {"request": request, "context": context})
        )
        self.handlers._intake.forget(self._sender)
        assert status in STORE_STATUSES, f"status 0x{status:04X}"
        return f"0x{status:04X}"

    def _stream(self, content: bytes) -> str:
        """Read and decode PDUs as the receiver does, and hand on the events."""
        association = self._association()
        stream, source = _PduStream(PDU_LIMIT_BYTES, 60.0), BytesIO(content)
        try:
            while pdu := _next_pdu(stream, source):
                if not self._event(association, pdu):
                    return "aborted"
        except OSError:
            return "closed"
        finally:
            self.handlers.on_closed(Event(association, evt.EVT_CONN_CLOSE))
        return "read"

    def _event(self, association: Any, content: bytes) -> bool:
        try:
            pdu = _decoded(content)
            primitive = pdu.to_primitive() if pdu is not None else None
        except Exception:  # as pynetdicom does: Evt19, an A-ABORT
            return False
        if pdu is None:
            return False
        if isinstance(pdu, A_ASSOCIATE_RQ):
            association.requestor.primitive = primitive
            self.handlers.on_requested(Event(association, evt.EVT_REQUESTED))
            return not association._kill
        self.handlers.on_pdu(Event(association, evt.EVT_PDU_RECV, {"pdu": pdu}))
        try:
            association.dimse.receive_primitive(primitive)
        except Exception:  # as pynetdicom does
            return False
        number, message = association.dimse.get_msg()
        if isinstance(message, C_STORE) and message.is_valid_request and number in association._accepted_cx:
            context = association._accepted_cx[number].as_tuple
            status = self.handlers.on_c_store(
                Event(association, evt.EVT_C_STORE, {"request": message, "context": context})
            )
            assert status in STORE_STATUSES, f"status 0x{status:04X}"
        return not association.is_aborted


class _Rejections:
    def send_reject(self, *_: int) -> None:
        return


def _context(number: int, abstract: str, transfer: str) -> Any:
    context = build_context(abstract, transfer)
    context.context_id = number
    return context


def _decoded(content: bytes) -> A_ASSOCIATE_RQ | DataTransfer | None:
    if content[0] == P_DATA_TF:
        return DataTransfer.of(bytearray(content))
    return _requested(content) if content[0] == 1 else None


def _requested(content: bytes) -> A_ASSOCIATE_RQ:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(content)
    return pdu


def _request(content: bytes) -> Any:
    return _requested(content).to_primitive()


def _next_pdu(stream: _PduStream, source: BytesIO) -> bytes:
    """Read one PDU as pynetdicom does: six bytes, then as many as they say."""
    head = _read(stream, source, 6)
    return b"" if len(head) < 6 else head + _read(stream, source, struct.unpack(">BBL", head)[2])


def _read(stream: _PduStream, source: BytesIO, wanted: int) -> bytes:
    content = b""
    while len(content) < wanted:
        piece = stream.read(source.read, min(4096, wanted - len(content)))
        if not piece:
            return b""
        content += piece
    return content


def fuzz_in_process(seed: int, cases: int, seconds: float, outcome: Outcome) -> int:
    """Run up to ``cases`` cases for up to ``seconds``; return how many."""
    with _quiet() as written, _memory_folder() as folder:
        process = InProcess(folder)
        started = time.monotonic()
        before: Vitals | None = None
        number = 0
        while number < cases and time.monotonic() - started < seconds:
            for _ in range(min(BATCH, cases - number)):
                _one(process, seed, number, outcome)
                number += 1
                if number % 256 == 0 and time.monotonic() - started > seconds:
                    break
            _check(process, f"{seed}, up to {number}", written, outcome)
            now = Vitals.of(_own_pid())
            before = before or now
            if now.resident_bytes > before.resident_bytes + 200 * MIB or now.descriptors > before.descriptors + 5:
                outcome.found(f"{seed}, up to {number}", f"it grew: {before}, then {now}")
            if number % (10 * BATCH) == 0:
                rate = number / (time.monotonic() - started)
                print(f"{number} cases, {rate:.0f} per second, {now}", flush=True)
    return number


def _one(process: InProcess, seed: int, number: int, outcome: Outcome) -> None:
    mutator = case(seed, number)
    level = mutator._draw.random()
    started, worked = time.monotonic(), time.thread_time()
    try:
        outcome.counts[process.run(mutator, level)] += 1
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome.found(
            f"--seed {seed} --only {number}", f"{type(error).__name__}: {error} at {place.filename}:{place.lineno}"
        )
    taken_s, worked_s = time.monotonic() - started, time.thread_time() - worked
    if worked_s > SLOW_S or taken_s > HUNG_S:
        outcome.found(f"--seed {seed} --only {number}", f"took {taken_s:.1f} s, and {worked_s:.1f} s of a processor")


def _check(process: InProcess, name: str, written: io.StringIO, outcome: Outcome) -> None:
    try:
        process.require_alive()
        process.between()
    except Exception as error:
        outcome.found(name, f"{type(error).__name__}: {error}")
    text = written.getvalue()
    written.seek(0)
    written.truncate()
    outcome.counts["log records"] += text.count("\n")
    for secret in (*SECRETS, "Traceback"):
        if secret in text:
            line = next(line for line in text.splitlines() if secret in line)
            outcome.found(name, f"the log holds {secret}: {line[:300]}")


def _own_pid() -> int:
    return int(Path("/proc/self").resolve().name)


@contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Take what is logged."""
    written = io.StringIO()
    show = warnings.showwarning
    with redirect_stderr(written), warnings.catch_warnings():
        warnings.simplefilter("default")
        log.configure(Log())
        yield written
    warnings.showwarning = show


@contextmanager
def _memory_folder() -> Iterator[Path]:
    """A folder where flushing takes no time."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="sbnode-fuzz-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def fuzz_over_sockets(node: Receiving, seed: int, cases: int, seconds: float, outcome: Outcome) -> int:
    """Send up to ``cases`` cases for up to ``seconds`` to a running node; return how many."""
    node.require_alive()
    before = node.vitals
    started = time.monotonic()
    number = 0
    with ThreadPoolExecutor(CLIENTS) as clients:
        while number < cases and time.monotonic() - started < seconds:
            batch = range(number, min(number + SOCKET_BATCH, cases))
            for ended in clients.map(lambda n: send_case(node.port, seed, n, outcome), batch):
                outcome.counts[ended] += 1
            number = batch.stop
            _check_node(node, before, f"--socket, seed {seed}, up to {number}", outcome)
            if not node.is_running:
                break
    return number


def _check_node(node: Receiving, before: Vitals, name: str, outcome: Outcome) -> None:
    try:
        node.require_alive()
        wait_until(lambda: node.vitals.threads <= before.threads + 2, 60, f"the threads ended: {node.vitals}")
        require_whole(node.spool)
    except AssertionError as error:
        outcome.found(name, str(error)[:2000])
        return
    now = node.vitals
    if now.resident_bytes > before.resident_bytes + 300 * MIB or now.descriptors > before.descriptors + 4:
        outcome.found(name, f"it grew: {before}, then {now}")
    text = node.log
    for secret in (*SECRETS, "Traceback"):
        if secret in text:
            line = next(line for line in text.splitlines() if secret in line)
            outcome.found(name, f"the log holds {secret}: {line[:300]}")


def send_case(port: int, seed: int, number: int, outcome: Outcome) -> str:
    """Send one case and read what comes back, until the node closes the connection or says nothing more."""
    pdus = case(seed, number).association()
    received = b""
    ended = "silence"
    with socket.create_connection((HOST, port), timeout=20) as connection:
        try:
            for index, pdu in enumerate(pdus):
                connection.sendall(pdu)
                received += _answer(connection, 2.0 if pdu == REQUEST and index == 0 else 0.02)
            received += _answer(connection, 0.3)
        except EOFError:
            ended = "closed"
        except OSError:
            ended = "broken off"
    for status in statuses(received):
        outcome.counts[f"0x{status:04X}"] += 1
        if status not in STORE_STATUSES | COMMITMENT_STATUSES | LIBRARY_STATUSES:
            outcome.found(f"--seed {seed} --only {number} --socket", f"status 0x{status:04X}")
    return ended


def _answer(connection: socket.socket, within_s: float) -> bytes:
    """Return what comes within a while; raise EOFError when the connection is closed."""
    if not select.select([connection], [], [], within_s)[0]:
        return b""
    piece = connection.recv(65536)
    if not piece:
        raise EOFError
    return piece


def statuses(received: bytes) -> Iterator[int]:
    """Yield the Status (0000,0900) of each response in a stream of PDUs."""
    at = 0
    while at + 6 <= len(received):
        kind, _, length = struct.unpack_from(">BBL", received, at)
        body = received[at + 6 : at + 6 + length]
        where = body.find(struct.pack("<HHL", 0x0000, 0x0900, 2))
        if kind == 4 and where >= 0:
            yield int.from_bytes(body[where + 8 : where + 10], "little")
        at += 6 + length


def _only(seed: int, number: int, *, over_socket: bool) -> None:
    outcome = Outcome()
    if over_socket:
        with _running() as node:
            print(send_case(node.port, seed, number, outcome), dict(outcome.counts))
            print(node.log)
        return
    mutator = case(seed, number)
    level = mutator._draw.random()
    with _memory_folder() as folder:
        print(InProcess(folder).run(mutator, level))


@contextmanager
def _running() -> Iterator[Receiving]:
    with _memory_folder() as folder, receiving(folder / "node", receive={"network_timeout_s": 2}) as node:
        yield node


def main() -> int:
    """Run the fuzzer; return 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--only", type=int, help="number of one case")
    parser.add_argument("--socket", action="store_true", help="with --only: over a socket")
    options = parser.parse_args()
    if options.only is not None:
        _only(options.seed, options.only, over_socket=options.socket)
        return 0
    outcome = Outcome()
    started = time.monotonic()
    done = fuzz_in_process(options.seed, options.cases, float("inf"), outcome)
    seconds = time.monotonic() - started
    print(f"in this process: {done} cases in {seconds:.0f} s, {done / seconds:.0f} per second")
    started = time.monotonic()
    with _running() as node:
        wanted = max(SOCKET_BATCH, int(options.cases * SOCKET_SHARE))
        sent = fuzz_over_sockets(node, options.seed, wanted, float("inf"), outcome)
        print(f"over sockets: {sent} cases in {time.monotonic() - started:.0f} s; {node.vitals}")
    print(", ".join(f"{name}: {count}" for name, count in sorted(outcome.counts.items())))
    print(f"{len(outcome.findings)} findings")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
