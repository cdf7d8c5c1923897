"""Contexts for TLS connections by BCP 195 (RFC 9325; PS3.15 annex B), and until when a certificate is valid."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["client_context", "not_after_s", "server_context"]

_TLS_1_2 = ":".join(
    f"ECDHE-{signature}-AES{key}" for key in ("256-GCM-SHA384", "128-GCM-SHA256") for signature in ("ECDSA", "RSA")
)
"""The cipher suites of RFC 9325 section 4.2. Those of TLS 1.3 are all of this kind and need no choice."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION, _UTC_TIME = 0xA0, 0x17


def server_context(certificate: Path, key: Path, ca: Path | None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and above. With ``ca``, clients must show a certificate that comes from it.

    Raises:
        OSError: a file can't be used; with ``ssl.SSLError``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    _load(context, certificate, key)
    if ca is not None:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: Path | None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and above that checks the server's certificate and host name.

    Args:
        ca: certificates that the server's must come from; None: the system's authorities.
        certificate: what the client shows, with ``key``; None: nothing.
        key: of the certificate.

    Raises:
        OSError: a file can't be used; with ``ssl.SSLError``.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    _harden(context)
    if certificate is not None:
        _load(context, certificate, key)
    return context


def not_after_s(certificate: Path) -> float:
    """Return when the first certificate of a PEM file ends (RFC 5280 section 4.1.2.5), in seconds since 1970.

    Raises:
        OSError: the file can't be read.
        ValueError: it holds no certificate.
    """
    text = certificate.read_text(encoding="ascii", errors="replace")
    found = re.search(f"{_BEGIN}.*?{_END}", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{certificate} holds no PEM certificate")
    try:
        (_, whole) = next(_elements(ssl.PEM_cert_to_DER_cert(found[0])))
        (_, signed) = next(_elements(whole))
        # version (optional), serialNumber, signature, issuer, validity: notBefore and notAfter
        fields = [content for tag, content in _elements(signed) if tag != _VERSION]
        _, (tag, time) = _elements(fields[3])
        return _time_s(tag, time.decode("ascii"))
    except (IndexError, StopIteration, ValueError) as error:
        raise ValueError(f"{certificate} holds no readable certificate") from error


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    # Without a password, OpenSSL would ask the terminal for that of an encrypted key, and wait.
    context.load_cert_chain(certificate, key, password="")


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER element of ``content`` (X.690 section 8.1)."""
    while content:
        tag, length, start = content[0], content[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(content[2:start])
        yield tag, content[start : start + length]
        content = content[start + length :]


def _time_s(tag: int, text: str) -> float:
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049 (RFC 5280 section 4.1.2.5.1)
        text = ("19" if text[0] >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
