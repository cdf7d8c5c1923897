"""TLS beside the plain port: who gets in, and that a silent client stops nobody."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path
from typing import Any, cast

import pytest

from sbnode.config import Config
from sbnode.errors import ConfigError
from sbnode.service.certificates import CertificateWatch
from tests.faults.recording import REQUEST
from tests.integration.peers import HOST, PATIENCE_S, free_port
from tests.scp.certificates import Certificate, authority, issued
from tests.scp.conftest import Running, Start, associate
from tests.scp.instances import STUDY, ct_slice
from tests.scp.test_receiver import connect, send_slice


@pytest.fixture
def ca(tmp_path: Path) -> Certificate:
    return authority(tmp_path)


@pytest.fixture
def server(tmp_path: Path, ca: Certificate) -> Certificate:
    return issued(tmp_path, "server", ca)


def tls_node(server: Certificate, ca: Certificate | None = None) -> dict[str, Any]:
    files = {"certificate": server.certificate, "key": server.key, "ca": ca.certificate if ca else None}
    return {"tls_port": free_port(), "tls": files}


def client_context(ca: Certificate, own: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca.certificate)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def gets_in(running: Running, context: ssl.SSLContext) -> bool:
    """Whether an association is answered; in TLS 1.3 a client learns only after the handshake that it was refused."""
    with socket.create_connection((HOST, running.receiver.ports[1]), timeout=PATIENCE_S) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=HOST) as secured:
                secured.sendall(REQUEST)
                return secured.recv(1) != b""
        except OSError:
            return False


def secure(running: Running, context: ssl.SSLContext) -> Any:
    return associate(running.receiver.ports[1], tls_args=(context, HOST))


def test_a_series_over_tls_and_an_echo_beside_it(start: Start, server: Certificate, ca: Certificate) -> None:
    running = start(node=tls_node(server))
    association = secure(running, client_context(ca))
    assert [send_slice(association, ct_slice(number, size=256)) for number in (1, 2, 3)] == [0x0000] * 3
    plain = associate(running.port)
    assert plain.send_c_echo().Status == 0x0000
    plain.release()
    association.release()
    assert running.studies.get(timeout=PATIENCE_S)[0] == STUDY
    running.spool.verify(running.spool.series(STUDY)[0])


def test_silent_clients_don_t_stop_the_tls_server(start: Start, server: Certificate, ca: Certificate) -> None:
    running = start(node=tls_node(server))
    silent = [connect(running.receiver.ports[1]) for _ in range(5)]
    silent[0].sendall(b"\x16\x03\x01")  # the beginning of a ClientHello
    association = secure(running, client_context(ca))
    assert association.send_c_echo().Status == 0x0000
    association.release()
    for connection in silent:
        connection.close()


def test_a_client_that_speaks_no_tls_is_cut_off(start: Start, server: Certificate, ca: Certificate) -> None:
    running = start(node=tls_node(server))
    association = associate(running.receiver.ports[1])
    assert not association.is_established
    association = secure(running, client_context(ca))
    assert association.is_established
    association.release()


def test_stop_with_a_silent_tls_client(start: Start, server: Certificate) -> None:
    running = start(node=tls_node(server), network_timeout_s=1)
    with connect(running.receiver.ports[1]):
        running.receiver.stop(grace_s=0.5)
    running.receiver.stop()


def test_with_a_ca_only_clients_with_a_certificate_get_in(
    start: Start, tmp_path: Path, server: Certificate, ca: Certificate
) -> None:
    running = start(node=tls_node(server, ca))
    stranger = issued(tmp_path, "stranger", authority(tmp_path, "another"))
    assert not gets_in(running, client_context(ca))
    assert not gets_in(running, client_context(ca, stranger))
    assert gets_in(running, client_context(ca, issued(tmp_path, "guest", ca)))
    association = secure(running, client_context(ca, issued(tmp_path, "client", ca)))
    assert association.is_established
    association.release()


def test_tls_below_1_2_is_refused(start: Start, server: Certificate, ca: Certificate) -> None:
    running = start(node=tls_node(server))
    context = client_context(ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection((HOST, running.receiver.ports[1])) as connection,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(connection, server_hostname=HOST)


def test_only_cipher_suites_of_bcp_195(start: Start, server: Certificate, ca: Certificate) -> None:
    running = start(node=tls_node(server))
    context = client_context(ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert gets_in(running, context)
    for weak in (
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-ECDSA-AES128-SHA",
        "AES256-GCM-SHA384",
        "DHE-RSA-AES256-GCM-SHA384",
    ):
        context.set_ciphers(weak)
        assert not gets_in(running, context), weak


def replace(old: Certificate, new: Certificate) -> None:
    shutil.copy(new.certificate, old.certificate)
    shutil.copy(new.key, old.key)


def test_renewed_certificates_are_shown_without_a_restart(
    start: Start, tmp_path: Path, server: Certificate, ca: Certificate
) -> None:
    running = start(node=tls_node(server))
    assert not running.receiver.renew_certificates()
    renewed = authority(tmp_path, "renewed")
    assert not gets_in(running, client_context(renewed))
    association = secure(running, client_context(ca))
    replace(server, issued(tmp_path, "new", renewed, ["-days", "9"]))
    before_s = running.receiver.certificate_end_s
    assert running.receiver.renew_certificates()
    assert running.receiver.certificate_end_s == pytest.approx(cast(float, before_s) + 7 * 86400, abs=60)
    assert gets_in(running, client_context(renewed))
    assert not gets_in(running, client_context(ca))
    assert association.send_c_echo().Status == 0x0000  # one that was open goes on
    association.release()


@pytest.mark.parametrize(
    "fault", ["broken key", "certificate before its key", "broken certificate", "missing", "empty"]
)
def test_broken_files_change_nothing_until_they_are_mended(
    start: Start, tmp_path: Path, server: Certificate, ca: Certificate, fault: str
) -> None:
    running = start(node=tls_node(server))
    new = issued(tmp_path, "new", ca)
    old = server.key.read_text()
    match fault:
        case "broken key":
            server.key.write_text(old[: len(old) // 2])
        case "certificate before its key":
            shutil.copy(new.certificate, server.certificate)
        case "broken certificate":
            server.certificate.write_text("no certificate")
        case "missing":
            server.certificate.unlink()
        case "empty":
            server.key.write_text("")
    end_s = running.receiver.certificate_end_s
    with pytest.raises(ConfigError, match=r"node\.tls"):
        running.receiver.renew_certificates()
    assert not running.receiver.renew_certificates()  # said once
    assert running.receiver.certificate_end_s == end_s
    assert gets_in(running, client_context(ca))
    replace(server, new)
    assert running.receiver.renew_certificates()
    assert gets_in(running, client_context(ca))


def test_a_ca_that_is_taken_out_is_trusted_no_more(
    start: Start, tmp_path: Path, server: Certificate, ca: Certificate
) -> None:
    trusted = tmp_path / "clients.pem"
    other = authority(tmp_path, "other")
    trusted.write_text(ca.certificate.read_text() + other.certificate.read_text())
    running = start(node=tls_node(server, Certificate(trusted, ca.key)))
    guest = client_context(ca, issued(tmp_path, "guest", other))
    assert gets_in(running, guest)
    trusted.write_text(ca.certificate.read_text())
    assert running.receiver.renew_certificates()
    assert not gets_in(running, guest)
    assert gets_in(running, client_context(ca, issued(tmp_path, "client", ca)))


def test_the_watch_says_what_became_of_renewed_files(
    start: Start, tmp_path: Path, server: Certificate, ca: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    running = start(node=tls_node(server))
    own = issued(tmp_path, "own", ca)
    peer = {"ae_title": "ARCHIVE", "host": HOST, "port": 104, "tls": {"certificate": own.certificate, "key": own.key}}
    lost = {"certificate": tmp_path / "lost.pem", "key": own.key}
    destinations = [{"name": "pacs", **peer}, {"name": "lost", **peer, "tls": lost}]
    watch = CertificateWatch(Config.model_validate({"destinations": destinations}), running.receiver)
    watch.turn(lambda: False)
    assert capsys.readouterr() == ("", "")
    assert watch.ends().keys() == {"node", "destination.pacs"}
    server.key.write_text("no key")
    watch.turn(lambda: False)
    assert "certificates_not_renewed" in "".join(capsys.readouterr())
    replace(server, own)
    watch.turn(lambda: False)
    assert "certificates_renewed" in "".join(capsys.readouterr())
    ends = watch.ends()
    assert ends["node"] == ends["destination.pacs"]


def test_a_caller_with_a_certificate_name_comes_with_that_certificate_alone(
    start: Start, tmp_path: Path, server: Certificate, ca: Certificate
) -> None:
    scanner = issued(tmp_path, "scanner", ca, dns="scanner1.example.org")
    running = start(
        node=tls_node(server, ca), callers=[{"ae_title": "SCANNER1", "certificate_name": "scanner1.example.org"}]
    )
    port = running.receiver.ports[1]

    def request(context: ssl.SSLContext) -> Any:
        return associate(port, calling="SCANNER1", tls_args=(context, HOST))

    association = request(client_context(ca, scanner))
    assert association.is_established
    association.release()
    assert request(client_context(ca, issued(tmp_path, "other", ca))).is_rejected
    assert associate(running.port, calling="SCANNER1").is_rejected  # without TLS, nobody knows who it is
    outcomes = [outcome for outcome, _ in running.observed.associations]
    assert outcomes.count("rejected_certificate") == 2


def test_without_a_plain_port_there_is_tls_alone(start: Start, server: Certificate, ca: Certificate) -> None:
    running = start(node={"port": None, **tls_node(server)})
    assert len(running.receiver.ports) == 1
    association = associate(running.port, tls_args=(client_context(ca), HOST))
    assert association.is_established
    association.release()


def test_a_certificate_that_is_missing_is_a_clear_error(start: Start, server: Certificate) -> None:
    server.key.unlink()
    with pytest.raises(ConfigError, match=r"node\.tls.*No such file"):
        start(node=tls_node(server))
