"""The server's side of TLS (PS3.15 annex B.9: BCP 195)."""

from __future__ import annotations

import ssl

from sbnode.config import Tls
from sbnode.errors import ConfigError
from sbnode.scp.transport import accept_tls_from

__all__ = ["load_certificates", "server_context"]


def server_context(settings: Tls) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and above. With ``settings.ca``, clients must show a certificate.

    Raises:
        ConfigError: a certificate or key can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificates(context, settings)
    return accept_tls_from(context)


def load_certificates(context: ssl.SSLContext, settings: Tls) -> None:
    """Load the files again, for the associations to come: certificates are renewed while the node runs.

    Raises:
        ConfigError: a file can't be used.
    """
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # with ssl.SSLError
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"node.tls: the certificate, key or ca can't be used: {reason}") from error
