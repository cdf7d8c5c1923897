"""Who may send: by AE title, by network, and by client certificate. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal

from sbnode.config import Caller, Config

__all__ = ["Rejection", "bears", "comes_from_where_it_may", "peer_address", "rejection"]

Rejection = Literal["rejected_called_ae_title", "rejected_calling_ae_title", "rejected_network", "rejected_certificate"]


def rejection(
    config: Config, called: str, calling: str, address: str, certificate: Mapping[str, Any] | None
) -> Rejection | None:
    """Return why an association request is rejected, or None when it may go on.

    Args:
        config: ``node`` and ``receive`` are used.
        called: AE title that the request is for.
        calling: AE title of the caller.
        address: of the caller, as ``peer_address`` gives it.
        certificate: what the client showed and TLS verified, as ``ssl.SSLSocket.getpeercert`` gives it; or None.
    """
    if config.receive.require_called_ae_title and called != config.node.ae_title:
        return "rejected_called_ae_title"
    caller = config.receive.allowed.get(calling)
    if caller is None:
        return "rejected_calling_ae_title"
    if not comes_from_where_it_may(caller, address):
        return "rejected_network"
    if caller.certificate_name is not None and not bears(certificate, caller.certificate_name):
        return "rejected_certificate"
    return None


def comes_from_where_it_may(caller: Caller, address: str) -> bool:
    """Return whether ``address`` lies in one of the caller's networks; without networks, every address may."""
    if not caller.networks:
        return True
    try:
        found = ip_address(address)
    except ValueError:  # no address is known
        return False
    return any(found in network for network in caller.networks)


def peer_address(address: str) -> str:
    """Return an address as it is written everywhere: one of IPv4 as such, even on an IPv6 port (RFC 4291 2.5.5.2)."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def bears(certificate: Mapping[str, Any] | None, name: str) -> bool:
    """Return whether a verified certificate has ``name`` among its DNS names or Common Names."""
    return certificate is not None and name.casefold() in (found.casefold() for found in _names(certificate))


def _names(certificate: Mapping[str, Any]) -> Iterator[str]:
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "DNS":
            yield value
    for part in certificate.get("subject", ()):
        for kind, value in part:
            if kind == "commonName":
                yield value
