"""Certificates while the node runs: taking up renewed ones, and until when each is valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sbnode import log
from sbnode.config import Config
from sbnode.errors import ConfigError
from sbnode.scp.server import Receiver
from sbnode.tls import not_after_s

__all__ = ["CertificateWatch", "shown"]


class CertificateWatch:
    """Has the receiver show renewed certificates. Those of connections that the node opens are read for each."""

    def __init__(self, config: Config, receiver: Receiver) -> None:
        self._shown = dict(shown(config))
        self._receiver = receiver

    def use(self, config: Config) -> None:
        """Look at the certificates of ``config`` from now on."""
        self._shown = dict(shown(config))

    def turn(self, _: Callable[[], bool]) -> None:
        """Look whether a file has changed."""
        try:
            renewed = self._receiver.renew_certificates()
        except ConfigError as error:
            log.get_logger().warning("certificates_not_renewed", reason=f"{error}; those of before are still shown")
            return
        end_s = self._receiver.certificate_end_s
        if renewed and end_s is not None:
            log.get_logger().info("certificates_renewed", valid_until=datetime.fromtimestamp(end_s, UTC).isoformat())

    def ends(self) -> Mapping[str, float]:
        """Return when each certificate that the node shows ends, in seconds since 1970, by who is shown it.

        One that can't be read is left out: the connections that need it fail and say so.
        """
        found: dict[str, float] = {}
        if self._receiver.certificate_end_s is not None:
            found["node"] = self._receiver.certificate_end_s
        for name, path in self._shown.items():
            with suppress(OSError, ValueError):
                found[name] = not_after_s(path)
        return found


def shown(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield the certificates that the node shows to those it calls: kind and name of these, and the file."""
    for kind, peers in (("archive", config.archives), ("destination", config.destinations)):
        for peer in peers:
            if peer.tls is not None:
                yield f"{kind}.{peer.name}", peer.tls.certificate
    for web in config.web_destinations:
        if web.certificate is not None:
            yield f"destination.{web.name}", web.certificate
    if config.audit.syslog is not None and config.audit.syslog.certificate is not None:
        yield "audit.syslog", config.audit.syslog.certificate
