"""Who may send, decided without a network."""

from __future__ import annotations

from typing import Any

import pytest

from sbnode.config import Config
from sbnode.scp.admission import peer_address, rejection

CERTIFICATE = {
    "subject": ((("organizationName", "Hospital"),), (("commonName", "Scanner 1"),)),
    "subjectAltName": (("IP Address", "10.1.0.1"), ("DNS", "scanner1.example.org")),
}


def config(caller: dict[str, Any] | None = None, **receive: Any) -> Config:
    callers = [{"ae_title": "SCANNER1", **caller}] if caller is not None else []
    tls = {"certificate": "node.pem", "key": "node.key", "ca": "clients.pem"}
    return Config.model_validate({"node": {"tls_port": 2762, "tls": tls}, "receive": {"callers": callers, **receive}})


def found(config: Config, address: str = "10.1.2.3", calling: str = "SCANNER1", **keywords: Any) -> str | None:
    return rejection(config, keywords.get("called", "SBNODE"), calling, address, keywords.get("certificate"))


def test_titles_decide_first() -> None:
    settings = config({"networks": ["10.1.0.0/16"]}, calling_ae_titles=["PACS"])
    assert found(settings) is None
    assert found(settings, "192.0.2.1", "PACS") is None
    assert found(settings, calling="STRANGER") == "rejected_calling_ae_title"
    assert found(settings, "192.0.2.1", called="OTHER") == "rejected_called_ae_title"


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        (["10.1.0.0/16"], "10.1.255.255", True),
        (["10.1.0.0/16"], "10.2.0.0", False),
        (["10.1.0.0/16"], "2001:db8::1", False),
        (["10.1.0.7"], "10.1.0.7", True),
        (["10.1.0.7"], "10.1.0.8", False),
        (["192.0.2.0/24", "2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["0.0.0.0/0"], "", False),
        ([], "", True),
    ],
)
def test_a_caller_comes_from_its_networks_alone(networks: list[str], address: str, allowed: bool) -> None:
    assert found(config({"networks": networks}), address) == (None if allowed else "rejected_network")


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::FFFF:0A01:0203", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("", ""),
    ],
)
def test_an_address_is_written_in_one_way(address: str, written: str) -> None:
    assert peer_address(address) == written


@pytest.mark.parametrize(
    ("name", "certificate", "allowed"),
    [
        ("scanner1.example.org", CERTIFICATE, True),
        ("SCANNER1.example.org", CERTIFICATE, True),
        ("Scanner 1", CERTIFICATE, True),
        ("Hospital", CERTIFICATE, False),
        ("10.1.0.1", CERTIFICATE, False),
        ("scanner2.example.org", CERTIFICATE, False),
        ("scanner1.example.org", None, False),
        ("scanner1.example.org", {}, False),
    ],
)
def test_a_caller_bears_its_certificate(name: str, certificate: dict[str, Any] | None, allowed: bool) -> None:
    outcome = found(config({"certificate_name": name}), certificate=certificate)
    assert outcome == (None if allowed else "rejected_certificate")
