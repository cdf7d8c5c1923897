"""STOW-RS of one object to one DICOMweb destination (PS3.18 section 10.5)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pydicom
from pydicom.errors import InvalidDicomError

from sbnode.config import WebDestination
from sbnode.errors import ConfigError, DestinationRefused, DestinationUnavailable, SpoolError
from sbnode.scu.send import Meaning, judge, meaning
from sbnode.series import SeriesKey
from sbnode.tls import client_context

__all__ = ["answers", "held", "reach", "store"]

_JSON = "application/dicom+json"
_CHUNK_BYTES = 1 << 20
_REFERENCED, _FAILED = "00081199", "00081198"
_SOP_INSTANCE_UID = "00080018"
_INSTANCE, _REASON, _WARNING = "00081155", "00081197", "00081196"
_STORED_WITH_WARNING = 0xB000
"""Services give warnings codes of their own, but what they list as stored is stored."""
_THERE_ALREADY, _DUPLICATE = 0xB00E, 0x0111
"""What a service of Microsoft says of an instance that it has already, and C-STORE's word for it."""
_LATER = (401, 403, 404, 408, 425, 429)
"""Credentials, address or load: the operator or time mends it, and then the object is taken."""
_NOT_IMPLEMENTED = 501


def store(path: Path, destination: WebDestination) -> int:
    """Send the DICOM file at ``path`` to ``destination``; return the status: success or a warning, as of C-STORE.

    The reasons of a Store Instances Response are the status codes of C-STORE (PS3.18 annex I.2), and mean the same.

    Raises:
        DestinationUnavailable: it is down, slow, overloaded, or refuses the credentials, or their file can't be read
            now: it may be being replaced.
        DestinationRefused: it won't take this object.
        ConfigError: the certificate, its key or the authority can't be used.
        SpoolError: the file is missing or isn't DICOM.
    """
    uid = _sop_instance_uid(path)
    boundary = uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Accept": _JSON,
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
    }
    response = _request(destination, "POST", "/studies", content=_parts(path, head, tail), headers=headers)
    if response.status_code in (200, 202, 409):
        return judge(_status(response, uid, destination), path.name, destination.name)
    raise _refusal(response.status_code, destination, path.name)


def answers(destination: WebDestination) -> None:
    """Return when ``destination`` answers a QIDO-RS query for one study.

    Raises:
        DestinationUnavailable: no connection, no answer in time, or another status.
        ConfigError: the certificate, its key or the authority can't be used.
    """
    response = _request(destination, "GET", "/studies?limit=1", headers={"Accept": _JSON})
    if response.status_code not in (200, 204):
        raise DestinationUnavailable(f"{_where(destination)} answered HTTP {response.status_code} to a query")


def reach(destination: WebDestination) -> None:
    """Return when ``destination`` answers over HTTP, whether it knows QIDO-RS or not.

    Raises:
        DestinationUnavailable: no connection, no answer in time, or one by which a delivery would have to wait.
        ConfigError: the certificate, its key or the authority can't be used.
    """
    code = _request(destination, "GET", "/studies?limit=1", headers={"Accept": _JSON}).status_code
    if code in _LATER or 300 <= code < 400 or (code >= 500 and code != _NOT_IMPLEMENTED):
        raise _refusal(code, destination, "a query")


def held(series: SeriesKey, destination: WebDestination) -> frozenset[str]:
    """Return the SOP Instance UIDs that ``destination`` lists of a series (QIDO-RS, PS3.18 section 10.6).

    Raises:
        DestinationUnavailable: no connection, no answer in time, or another status.
        ConfigError: the certificate, its key or the authority can't be used.
    """
    path = f"/studies/{series.study_instance_uid}/series/{series.series_instance_uid}/instances"
    response = _request(destination, "GET", path, headers={"Accept": _JSON})
    if response.status_code in (204, 404):
        return frozenset()
    if response.status_code != 200:
        raise DestinationUnavailable(f"{_where(destination)} answered HTTP {response.status_code} to a query")
    try:
        return frozenset(str(_first(item, _SOP_INSTANCE_UID)) for item in response.json())
    except (ValueError, TypeError, AttributeError) as error:
        raise DestinationUnavailable(f"{_where(destination)} gave an answer that isn't DICOM JSON") from error


def _sop_instance_uid(path: Path) -> str:
    try:
        meta = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise SpoolError(f"result {path.name} is missing or unreadable: {type(error).__name__}") from error
    return str(meta.SOPInstanceUID)


def _parts(path: Path, head: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    yield tail


def _request(destination: WebDestination, method: str, path: str, **content: Any) -> httpx.Response:
    headers = {**content.pop("headers"), **_authorization(destination)}
    credentials = _basic(destination)
    try:
        with httpx.Client(
            verify=_tls_context(destination),
            auth=credentials,
            timeout=destination.timeout_s,
            trust_env=False,
            follow_redirects=False,
        ) as client:
            return client.request(method, destination.url.rstrip("/") + path, headers=headers, **content)
    except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
        remedy = "its certificate or ours was refused" if _of_tls(error) else "is it up, and is url right?"
        raise DestinationUnavailable(
            f"{_where(destination)} can't be reached or broke off ({type(error).__name__}); {remedy}"
        ) from error


def _of_tls(error: BaseException | None) -> bool:
    """Whether a fault of TLS is behind an error."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def _authorization(destination: WebDestination) -> dict[str, str]:
    if destination.token_file is None:
        return {}
    return {"Authorization": f"Bearer {_secret(destination, destination.token_file)}"}


def _basic(destination: WebDestination) -> httpx.BasicAuth | None:
    if destination.user is None or destination.password_file is None:
        return None
    return httpx.BasicAuth(destination.user, _secret(destination, destination.password_file))


def _secret(destination: WebDestination, path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        fault = "isn't plain ASCII" if isinstance(error, UnicodeDecodeError) else "can't be read"
        raise DestinationUnavailable(f"{_where(destination)}: {path}, which holds its secret, {fault}") from error


def _tls_context(destination: WebDestination) -> ssl.SSLContext:
    """The certificate must come from ``ca`` or the system's authorities, for the host of ``url``."""
    try:
        return client_context(destination.ca, destination.certificate, destination.key)
    except OSError as error:
        raise ConfigError(f"web_destinations: certificate, key or ca can't be used: {error}") from error


def _status(response: httpx.Response, uid: str, destination: WebDestination) -> int:
    """The status of the instance in a Store Instances Response (PS3.18 table 10.5.3-2)."""
    try:
        answer = response.json()
        failed = {_first(item, _INSTANCE): _first(item, _REASON) for item in _items(answer, _FAILED)}
        stored = {_first(item, _INSTANCE): _first(item, _WARNING) for item in _items(answer, _REFERENCED)}
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise DestinationUnavailable(f"{_where(destination)} gave an answer that isn't DICOM JSON") from error
    if uid in stored:
        status = int(stored[uid] or 0x0000)
        return status if meaning(status) in (Meaning.DELIVERED, Meaning.WARNED) else _STORED_WITH_WARNING
    if uid in failed:
        reason = int(failed[uid] or 0x0110)
        return _DUPLICATE if reason == _THERE_ALREADY else reason
    raise DestinationUnavailable(f"{_where(destination)} did not say what became of the object")


def _items(answer: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return list(answer.get(tag, {}).get("Value", []))


def _first(item: dict[str, Any], tag: str) -> Any:
    values = item.get(tag, {}).get("Value", [])
    return values[0] if values else None


def _refusal(code: int, destination: WebDestination, name: str) -> DestinationRefused | DestinationUnavailable:
    message = f"{_where(destination)} answered HTTP {code} to {name}"
    if code in (401, 403):
        message += "; are user, password or token right?"
    if code == 404 or 300 <= code < 400:
        message += "; is url the root of a DICOMweb service?"
    if code in _LATER or code >= 500 or code < 400:
        return DestinationUnavailable(message)
    return DestinationRefused(message)


def _where(destination: WebDestination) -> str:
    return f"destination '{destination.name}' ({urlsplit(destination.url).hostname})"
