"""TLS beside the plain port: who gets in, and that a silent client stops nobody."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from sbnode.errors import ConfigError
from tests.integration.peers import HOST, free_port
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
    """Whether a connection outlives the handshake; in TLS 1.3 a client learns only afterwards."""
    with socket.create_connection((HOST, running.receiver.ports[1]), timeout=5) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=HOST) as secured:
                secured.settimeout(1)
                return secured.recv(1) != b""
        except TimeoutError:
            return True
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
    assert running.studies.get(timeout=5)[0] == STUDY
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


def test_renewed_certificates_are_used_without_a_restart(
    start: Start, tmp_path: Path, server: Certificate, ca: Certificate
) -> None:
    running = start(node=tls_node(server))
    renewed = authority(tmp_path, "renewed")
    certificate = issued(tmp_path, "new", renewed)
    assert not gets_in(running, client_context(renewed))
    shutil.copy(certificate.certificate, server.certificate)
    shutil.copy(certificate.key, server.key)
    running.receiver.reload_certificates()
    association = secure(running, client_context(renewed))
    assert association.is_established
    association.release()
    server.key.write_text("no key")
    with pytest.raises(ConfigError, match=r"node\.tls"):
        running.receiver.reload_certificates()
    association = secure(running, client_context(renewed))
    assert association.is_established
    association.release()


def test_a_certificate_that_is_missing_is_a_clear_error(start: Start, server: Certificate) -> None:
    server.key.unlink()
    with pytest.raises(ConfigError, match=r"node\.tls.*No such file"):
        start(node=tls_node(server))
