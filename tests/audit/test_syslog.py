"""The audit trail at a syslog server: framing, TLS, and that nothing waits for a server that is away."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sbnode import metrics
from sbnode.audit import Audit, Participant, SyslogSender, syslog
from sbnode.config import AuditTrail, Syslog
from sbnode.errors import ConfigError
from tests.audit.receiver import SyslogServer
from tests.audit.schema import parsed
from tests.integration.peers import HOST, free_port, wait_until
from tests.scp.certificates import Certificate, authority, issued

PACS = Participant("PACS", "192.0.2.1")
HEADER = re.compile(
    rb"<(?P<pri>8[45])>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 [!-~]{1,255} sbnode \d+ DICOM\+RFC3881 - "
    rb"\xef\xbb\xbf(?P<xml><\?xml .*)",
    re.DOTALL,
)


@pytest.fixture
def ca(tmp_path: Path) -> Certificate:
    return authority(tmp_path)


def server_context(tmp_path: Path, ca: Certificate, *, mutual: bool = False) -> ssl.SSLContext:
    own = issued(tmp_path, "syslog", ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    if mutual:
        context.load_verify_locations(ca.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


Serve = Callable[..., SyslogServer]
Open = Callable[..., Audit]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[SyslogServer] = []

    def start(context: ssl.SSLContext | None, port: int = 0) -> SyslogServer:
        started.append(SyslogServer(context, port))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens an audit trail for a syslog server on a port, with short pauses between attempts."""
    monkeypatch.setattr(syslog, "_FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(syslog, "_LONGEST_PAUSE_S", 0.2)
    opened: list[Audit] = []

    def open_trail(port: int, **settings: Any) -> Audit:
        opened.append(Audit.open(AuditTrail(syslog=Syslog(host=HOST, port=port, **settings)), "SBNODE"))
        return opened[-1]

    yield open_trail
    for audit in opened:
        audit.close()


def count(outcome: str) -> float:
    return metrics.AUDIT_SYSLOG.labels(outcome)._value.get()  # type: ignore[no-any-return]


def studies(server: SyslogServer) -> list[str | None]:
    found = []
    for content in server.messages:
        match = HEADER.fullmatch(content)
        assert match is not None, content
        about = parsed(match["xml"].decode()).find("ParticipantObjectIdentification")
        found.append(None if about is None else about.get("ParticipantObjectID"))
    return found


def test_every_event_arrives_over_tls_as_the_standard_says(
    tmp_path: Path, ca: Certificate, serve: Serve, trail: Open
) -> None:
    server = serve(server_context(tmp_path, ca))
    audit = trail(server.port, ca=ca.certificate)
    audit.application(started=True)
    audit.rejected(PACS)
    audit.received(PACS, "1.2.3", 50)
    audit.sent(Participant("cloud", "https://archive.example.org"), "1.2.3", 1, accepted=True)
    audit.sent(PACS, "1.2.3", 1, accepted=False)
    audit.deleted("1.2.3")
    audit.application(started=False)
    audit.close()
    wait_until(lambda: len(server.messages) == 7, 5, "all arrived")
    time.sleep(0.2)
    assert server.faults == []  # the connection ended by close_notify (RFC 5425 section 4.4)
    matches = [HEADER.fullmatch(content) for content in server.messages]
    codes = []
    for match in matches:
        assert match is not None
        event = parsed(match["xml"].decode()).find("EventIdentification")
        assert event is not None
        codes.append((int(match["pri"]), event[0].get("csd-code"), event.get("EventOutcomeIndicator")))
    assert codes == [
        (85, "110100", "0"),
        (84, "110113", "4"),
        (85, "110104", "0"),
        (85, "110104", "0"),
        (84, "110104", "8"),
        (85, "110105", "0"),
        (85, "110100", "0"),
    ]


def test_what_happens_while_the_server_is_away_arrives_when_it_is_back(
    tmp_path: Path, ca: Certificate, serve: Serve, trail: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    context = server_context(tmp_path, ca)
    audit = trail(port, ca=ca.certificate)
    started = time.monotonic()
    for number in range(50):
        audit.deleted(f"1.2.{number}")
    assert time.monotonic() - started < 0.5
    server = serve(context, port)
    wait_until(lambda: len(server.messages) == 50, 10, "all arrived")
    server.stop()
    audit.deleted("1.3.1")
    time.sleep(0.3)
    again = serve(context, port)
    wait_until(lambda: bool(again.messages), 10, "the one of meanwhile arrived")
    assert studies(server) == [f"1.2.{number}" for number in range(50)]
    assert studies(again) == ["1.3.1"]
    said = capsys.readouterr()
    assert "audit_syslog_unavailable" in said.out + said.err
    assert "audit_syslog_resumed" in said.out + said.err


def test_what_finds_no_room_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch, trail: Open) -> None:
    monkeypatch.setattr(syslog, "_MAX_WAITING", 3)
    before = count("dropped")
    audit = trail(free_port(), tls=False)
    for number in range(10):
        audit.deleted(f"1.2.{number}")
    assert count("dropped") - before == 7
    started = time.monotonic()
    audit.close()
    assert time.monotonic() - started < 2
    assert count("dropped") - before == 10


def test_a_server_that_accepts_and_reads_nothing_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, ca: Certificate, trail: Open
) -> None:
    monkeypatch.setattr(syslog, "_CLOSE_S", 0.5)
    with socket.create_server((HOST, 0)) as silent:
        audit = trail(silent.getsockname()[1], ca=ca.certificate)
        started = time.monotonic()
        audit.deleted("1.2.3")
        assert time.monotonic() - started < 0.2


def test_a_server_with_another_certificate_gets_nothing(
    tmp_path: Path, ca: Certificate, serve: Serve, trail: Open
) -> None:
    server = serve(server_context(tmp_path, authority(tmp_path, "another")))
    audit = trail(server.port, ca=ca.certificate)
    audit.deleted("1.2.3")
    wait_until(lambda: bool(server.faults), 5, "the handshake failed")
    audit.close()
    assert server.messages == []


def test_a_server_of_another_host_gets_nothing(tmp_path: Path, ca: Certificate, serve: Serve, trail: Open) -> None:
    server = serve(server_context(tmp_path, ca))
    settings = Syslog(host="localhost", port=server.port, ca=ca.certificate)  # its certificate is for 127.0.0.1
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        syslog.connect(settings)
    assert server.messages == []


def test_the_node_shows_its_certificate(tmp_path: Path, ca: Certificate, serve: Serve, trail: Open) -> None:
    server = serve(server_context(tmp_path, ca, mutual=True))
    own = issued(tmp_path, "node", ca)
    audit = trail(server.port, ca=ca.certificate, certificate=own.certificate, key=own.key)
    audit.deleted("1.2.3")
    wait_until(lambda: bool(server.messages), 5, "the record arrived")
    assert studies(server) == ["1.2.3"]


def test_without_tls_to_this_machine(serve: Serve, trail: Open) -> None:
    server = serve(None)
    trail(server.port, tls=False).deleted("1.2.3")
    wait_until(lambda: bool(server.messages), 5, "the record arrived")
    assert studies(server) == ["1.2.3"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "syslog.example.org", "tls": False}, "only this machine"),
        ({"host": "syslog.example.org", "certificate": "node.pem"}, "belong together"),
    ],
)
def test_what_is_unsafe_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Syslog.model_validate(settings)


def test_a_certificate_that_is_missing_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"audit\.syslog.*No such file"):
        SyslogSender(Syslog(host="syslog.example.org", ca=tmp_path / "none.pem"))
