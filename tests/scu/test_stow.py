"""STOW-RS against a real peer, Orthanc's DICOMweb, and a small service that says what it is told to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydantic import ValidationError

from sbnode.config import Config, WebDestination
from sbnode.errors import DestinationRefused, DestinationUnavailable, SpoolError
from sbnode.results.segmentation import build
from sbnode.scu.stow import answers, held, store
from sbnode.series import SeriesKey
from tests.integration.peers import Orthanc
from tests.jobs.fakes import free_port, result_object
from tests.results.phantom import derivation, make_scan
from tests.scp.certificates import authority, issued


class Service(ThreadingHTTPServer):
    """Keeps what it was sent, and answers with ``status`` and ``content``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.content = 200, b""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/dicom-web"

    def stored(self, uid: str, warning: int | None = None) -> None:
        item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        if warning is not None:
            item["00081196"] = {"vr": "US", "Value": [warning]}
        self.content = json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()

    def failed(self, uid: str, reason: int, status: int = 409) -> None:
        item = {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}
        self.status, self.content = status, json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


class Handler(BaseHTTPRequestHandler):
    server: Service

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    do_POST = do_GET = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    return result_object(tmp_path / "seg.dcm", "seg", "ab")


def destination(url: str, **more: Any) -> WebDestination:
    return WebDestination(name="cloud", url=url, timeout_s=5, **more)


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path).SOPInstanceUID)


def test_orthanc_files_a_segmentation_in_its_study(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "scan")
    path = tmp_path / "seg.dcm"
    build(scan.bone, scan.volume, derivation()).save_as(path, enforce_file_format=True)
    archive = Orthanc.start(tmp_path / "orthanc", {})
    try:
        target = destination(f"{archive.url}/dicom-web")
        answers(target)
        assert store(path, target) == 0x0000
        assert store(path, target) in (0x0000, 0x0111)
        study = scan.volume.instances[0].key.study_instance_uid
        (found,) = archive.get(f"/dicom-web/studies/{study}/instances")
        assert found["00080018"]["Value"] == [uid_of(path)]
        series = str(pydicom.dcmread(path).SeriesInstanceUID)
        assert held(SeriesKey(study, series), target) == {uid_of(path)}
        assert held(SeriesKey(study, "1.2.3"), target) == frozenset()
    finally:
        archive.process.stop()


def test_the_file_is_sent_byte_for_byte_with_its_type(service: Service, seg: Path) -> None:
    service.stored(uid_of(seg))
    assert store(seg, destination(service.url)) == 0x0000
    ((path, headers, body),) = service.requests
    assert path == "/dicom-web/studies"
    kind, _, boundary = headers["Content-Type"].partition("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    head, content = body.split(b"\r\n\r\n", 1)
    assert head.startswith(f"--{boundary}".encode())
    assert content == seg.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    assert "Authorization" not in headers


def test_a_warning_is_a_delivery(service: Service, seg: Path) -> None:
    service.status = 202
    service.stored(uid_of(seg), warning=0xB007)
    assert store(seg, destination(service.url)) == 0xB007
    service.stored(uid_of(seg), warning=1)  # a code of the service's own
    assert store(seg, destination(service.url)) == 0xB000


def test_an_instance_that_is_there_already_is_delivered(service: Service, seg: Path) -> None:
    service.failed(uid_of(seg), 45070)
    assert store(seg, destination(service.url)) == 0x0111


@pytest.mark.parametrize(("reason", "error"), [(0x0122, DestinationRefused), (0xA700, DestinationUnavailable)])
@pytest.mark.parametrize("status", [202, 409])
def test_reasons_mean_what_they_mean_in_c_store(
    service: Service, seg: Path, status: int, reason: int, error: type[Exception]
) -> None:
    service.failed(uid_of(seg), reason, status)
    with pytest.raises(error, match=f"0x{reason:04X}"):
        store(seg, destination(service.url))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, DestinationRefused),
        (413, DestinationRefused),
        (415, DestinationRefused),
        (301, DestinationUnavailable),
        (401, DestinationUnavailable),
        (403, DestinationUnavailable),
        (404, DestinationUnavailable),
        (429, DestinationUnavailable),
        (500, DestinationUnavailable),
        (503, DestinationUnavailable),
    ],
)
def test_other_answers_are_permanent_or_not(service: Service, seg: Path, status: int, error: type[Exception]) -> None:
    service.status = status
    with pytest.raises(error, match=f"HTTP {status}"):
        store(seg, destination(service.url))


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"00081199": {"Value": [1]}}'])
def test_an_answer_that_says_nothing_of_the_object_is_no_success(service: Service, seg: Path, content: bytes) -> None:
    service.content = content
    with pytest.raises(DestinationUnavailable):
        store(seg, destination(service.url))


def test_token_and_password_are_sent_and_read_from_files(service: Service, seg: Path, tmp_path: Path) -> None:
    service.stored(uid_of(seg))
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n", encoding="utf-8")
    store(seg, destination(service.url, token_file=secret))
    store(seg, destination(service.url, user="node", password_file=secret))
    sent = [headers["Authorization"] for _, headers, _ in service.requests]
    assert sent == ["Bearer hunter2", "Basic bm9kZTpodW50ZXIy"]


@pytest.mark.parametrize("content", [None, "hunter\u00e4"])
def test_a_secret_that_can_not_be_read_now_is_tried_again(
    service: Service, seg: Path, tmp_path: Path, content: str | None
) -> None:
    secret = tmp_path / "token"
    if content is not None:
        secret.write_text(content, encoding="utf-8")
    with pytest.raises(DestinationUnavailable, match="token") as caught:
        store(seg, destination(service.url, token_file=secret))
    assert "hunter" not in str(caught.value)
    assert service.requests == []


def test_a_service_that_is_down_is_unavailable(seg: Path) -> None:
    target = destination(f"http://127.0.0.1:{free_port()}/dicom-web")
    with pytest.raises(DestinationUnavailable, match="can't be reached"):
        store(seg, target)
    with pytest.raises(DestinationUnavailable, match="can't be reached"):
        answers(target)


def test_a_missing_file_is_named(service: Service, tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"seg\.dcm"):
        store(tmp_path / "seg.dcm", destination(service.url))


def test_tls_asks_for_the_right_authority_and_shows_the_client_certificate(
    service: Service, seg: Path, tmp_path: Path
) -> None:
    trusted = authority(tmp_path)
    server, client = (issued(tmp_path, name, trusted) for name in ("server", "client"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(trusted.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    service.socket = context.wrap_socket(service.socket, server_side=True)
    service.scheme = "https"
    service.stored(uid_of(seg))
    shown = {"certificate": client.certificate, "key": client.key}
    assert store(seg, destination(service.url, ca=trusted.certificate, **shown)) == 0x0000
    with pytest.raises(DestinationUnavailable, match="certificate"):
        store(seg, destination(service.url, **shown))
    with pytest.raises(DestinationUnavailable):
        store(seg, destination(service.url, ca=trusted.certificate))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "ftp://host/x"}, "url"),
        ({"url": "https://host/x?y=1"}, "url"),
        ({"url": "https://host", "user": "node"}, "password_file"),
        ({"url": "https://user:secret@host/x"}, "must not hold"),
        ({"url": "https://[::1/x"}, "url"),
        ({"url": "https://host:port/x"}, "Port"),
        ({"url": "https://host", "key": "k.pem"}, "certificate"),
        ({"url": "http://host", "token_file": "t"}, "https"),
        ({"url": "https://host", "token_file": "t", "user": "u", "password_file": "p"}, "not both"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        WebDestination(name="cloud", **settings)  # type: ignore[arg-type]


def test_no_two_destinations_of_any_kind_have_one_name() -> None:
    dimse = {"name": "a", "ae_title": "A", "host": "h", "port": 104}
    with pytest.raises(ValidationError, match="the same name"):
        Config(destinations=[dimse], web_destinations=[{"name": "a", "url": "https://h"}])  # type: ignore[list-item]


@pytest.mark.parametrize(("status", "content"), [(500, b"[]"), (200, b"<html>"), (200, b"[1]")])
def test_an_answer_to_a_query_that_says_nothing_is_no_proof(service: Service, status: int, content: bytes) -> None:
    service.status, service.content = status, content
    with pytest.raises(DestinationUnavailable):
        held(SeriesKey("1.2", "1.3"), destination(service.url))
    assert service.requests[-1][0] == "/dicom-web/studies/1.2/series/1.3/instances"
