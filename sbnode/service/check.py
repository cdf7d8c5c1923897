"""Looking at everything that the node needs before it is needed."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sbnode.audit.syslog import connect, disconnect
from sbnode.config import Config, Syslog
from sbnode.errors import ConfigError, DeliveryError, SbnodeError
from sbnode.jobs.client import JobClient
from sbnode.scu.echo import echo
from sbnode.scu.stow import answers
from sbnode.service.process import open_spool
from sbnode.status import read_accounts

__all__ = ["Check", "check", "ports_of"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``fault`` says what is wrong and what to do, or is None."""

    name: str
    fault: str | None
    is_configuration: bool = True
    """Whether a fault is one of this node's configuration; the other kind is a destination that is down."""


def check(config: Config, *, spool: bool = True, ports: bool = True) -> Iterator[Check]:
    """Look at everything that `serve` needs, one thing after the other.

    Args:
        config: what is looked at.
        spool: write to the spool and open the queue, which are made where they aren't there yet.
        ports: look whether the ports are free, as they are while no node runs.
    """
    yield Check("models open", _fault_of(lambda: _open_models(config)))
    if spool:
        yield Check("spool is writable", _fault_of(lambda: _write_to_spool(config)))
        yield Check("queue opens", _fault_of(lambda: JobClient(config, open_spool(config)).close()))
    for name, host, port in ports_of(config) if ports else ():
        yield Check(f"{name} {port} is free", _fault_of(partial(_bind, name, host, port)))
    if config.status.user is not None:
        yield Check("passwords of the status page can be read", _fault_of(lambda: _read_passwords(config)))
    allowed = config.receive.allowed
    nobody = "receive.calling_ae_titles is empty, as is receive.callers, so nobody may send; name your senders"
    yield Check(f"{len(allowed)} AE titles may send", None if allowed else nobody)
    for archive in config.archives:
        calling = archive.calling_ae_title or config.node.ae_title
        fault = _fault_of(partial(echo, archive, calling))
        yield Check(f"archive '{archive.name}' answers C-ECHO", fault, is_configuration=False)
    for destination in config.destinations:
        calling = destination.calling_ae_title or config.node.ae_title
        fault = _fault_of(partial(echo, destination, calling))
        yield Check(f"destination '{destination.name}' answers C-ECHO", fault, is_configuration=False)
    for web in config.web_destinations:
        fault = _fault_of(partial(answers, web))
        yield Check(f"destination '{web.name}' answers QIDO-RS", fault, is_configuration=False)
    if config.shadow:
        yield Check("shadow mode is on: nothing is sent until it is released", None)
    if config.audit.syslog is not None:
        fault = _fault_of(partial(_connect, config.audit.syslog))
        yield Check(f"audit.syslog {config.audit.syslog.host} accepts a connection", fault, is_configuration=False)


def ports_of(config: Config) -> Iterator[tuple[str, str, int]]:
    """Yield key, address and number of each port that the node listens on."""
    if config.node.port is not None:
        yield "node.port", config.node.host, config.node.port
    if config.node.tls_port is not None:
        yield "node.tls_port", config.node.host, config.node.tls_port
    yield "status.port", config.status.host, config.status.port


def _fault_of(attempt: Callable[[], None]) -> str | None:
    try:
        attempt()
    except SbnodeError as error:
        return str(error)
    return None


def _open_models(config: Config) -> None:
    from sbnode import pipeline

    pipeline.Models.open(config)


def _write_to_spool(config: Config) -> None:
    spool = open_spool(config)
    try:
        with tempfile.TemporaryFile(dir=spool.path) as file:
            file.write(b"sbnode")
    except OSError as error:
        raise ConfigError(f"spool.path: {spool.path} can't be written ({error.strerror})") from error
    free = spool.free_bytes()
    if free < config.spool.min_free_bytes:
        raise ConfigError(
            f"spool.min_free_bytes: {spool.path} has {free / 1e9:.1f} GB free, less than the "
            f"{config.spool.min_free_bytes / 1e9:.1f} GB that must stay free; every instance would be refused"
        )


def _read_passwords(config: Config) -> None:
    read_accounts(config.status)


def _connect(syslog: Syslog) -> None:
    try:
        disconnect(connect(syslog))
    except OSError as error:
        raise DeliveryError(f"audit.syslog: {error}; is it up, and are host, port and certificates right?") from error


def _bind(key: str, host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise ConfigError(
            f"{key}: {host}:{port} can't be used ({error.strerror}); is a node running already?"
        ) from error
