"""What is read of certificates and keys."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sbnode.tls import client_context, not_after_s, server_context
from tests.integration.peers import program
from tests.scp.certificates import authority, issued


@pytest.mark.parametrize("days", ["1", "400", "36500"])  # the last lies beyond 2049: GeneralizedTime
def test_the_end_of_a_certificate_is_what_openssl_says(tmp_path: Path, days: str) -> None:
    made = issued(tmp_path, "node", authority(tmp_path), ["-days", days])
    command = [program("openssl", "openssl"), "x509", "-in", str(made.certificate), "-noout", "-enddate"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().removeprefix("notAfter=")
    expected = datetime.strptime(said, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert not_after_s(made.certificate) == expected.timestamp()


def test_the_first_certificate_of_a_chain_counts_and_text_around_it_does_not(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    made = issued(tmp_path, "node", ca, ["-days", "9"])
    chain = tmp_path / "chain.pem"
    chain.write_text(
        f"Subject: n\u00f6de\n{made.certificate.read_text()}{ca.certificate.read_text()}", encoding="utf-8"
    )
    assert not_after_s(chain) == not_after_s(made.certificate) != not_after_s(ca.certificate)


BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    "content", ["", "no certificate", f"{BEGIN}\nMAAA\n{END}", f"{BEGIN}\n!!\n{END}", f"{BEGIN}{END}"]
)
def test_what_holds_no_certificate_is_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "node.pem"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"node\.pem holds no"):
        not_after_s(path)


def test_an_encrypted_key_is_an_error_and_no_question(tmp_path: Path) -> None:
    made = issued(tmp_path, "node", authority(tmp_path))
    command = [program("openssl", "openssl"), "ec", "-in", str(made.key), "-out", str(made.key), "-aes256"]
    subprocess.run([*command, "-passout", "pass:secret"], check=True, capture_output=True)
    with pytest.raises(ssl.SSLError):
        server_context(made.certificate, made.key, None)
    with pytest.raises(ssl.SSLError):
        client_context(None, made.certificate, made.key)


def test_what_is_spoken() -> None:
    context = client_context(None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"} == {
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
    }
