"""The server's side of TLS (PS3.15 annex B: BCP 195), whose certificates are renewed while the node runs."""

from __future__ import annotations

import ssl
from pathlib import Path

from sbnode.config import Tls
from sbnode.errors import ConfigError
from sbnode.scp.transport import accept_tls_from
from sbnode.tls import not_after_s, server_context

__all__ = ["Certificates"]


class Certificates:
    """The TLS files of the node and the context made from them. With ``settings.ca``, clients must show a certificate.

    Each change of a file makes a new context: in a live one, OpenSSL would drop the old key at a new certificate whose
    key isn't there yet, and would go on trusting what was taken out of ``ca``.

    Raises:
        ConfigError: a file can't be used.
    """

    def __init__(self, settings: Tls) -> None:
        self._settings = settings
        self._seen = self._state()
        self.context, self.not_after_s = self._load()

    def renew(self) -> bool:
        """Make a new context if a file has changed since the last look; return whether.

        Raises:
            ConfigError: a file can't be used; the context of before stays.
        """
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        self.context, self.not_after_s = self._load()
        return True

    def _load(self) -> tuple[ssl.SSLContext, float]:
        """Return a context, and when its certificate ends, in seconds since 1970."""
        tls = self._settings
        try:
            return accept_tls_from(server_context(tls.certificate, tls.key, tls.ca)), not_after_s(tls.certificate)
        except (OSError, ValueError) as error:  # OSError with ssl.SSLError
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(f"node.tls: the certificate, key or ca can't be used: {reason}") from error

    def _state(self) -> tuple[object, ...]:
        return tuple(_state(path) for path in (self._settings.certificate, self._settings.key, self._settings.ca))


def _state(path: Path | None) -> object:
    try:
        found = path.stat() if path is not None else None
    except OSError as error:
        return error.errno
    # The time of change (ctime) tells of permissions that were mended.
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found is not None else None
