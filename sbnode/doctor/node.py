"""A node that runs: what it says of itself over HTTP."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx

from sbnode import __version__
from sbnode.config import Config, Status, load_config
from sbnode.doctor.observation import Observation, fail, ok, warn
from sbnode.errors import ConfigError
from sbnode.jobs.lease import live_workers
from sbnode.service.check import ports_of
from sbnode.service.receiving import IN_FORCE
from sbnode.service.settings import merge

__all__ = ["RunningNode", "ask_node", "examine_node"]

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RunningNode:
    """What a node answered: its conditions for being ready, with what is wrong, and its metrics as text.

    Both are empty when it asked for a password that isn't at hand.
    """

    checks: dict[str, str]
    metrics: str
    denied: bool = False


def ask_node(config: Config) -> RunningNode | None:
    """Ask the node on ``config.status``, or return None when none answers there."""
    host = _reachable(config.status.host)
    base = f"http://[{host}]" if ":" in host else f"http://{host}"
    try:
        with httpx.Client(
            base_url=f"{base}:{config.status.port}",
            timeout=_TIMEOUT_S,
            auth=_credentials(config.status),
            trust_env=False,
        ) as client:
            if client.get("/healthz").text.strip() != "ok":
                return None
            ready = client.get("/readyz")
            if ready.status_code == httpx.codes.UNAUTHORIZED:
                return RunningNode({}, "", denied=True)
            return RunningNode(json.loads(ready.text)["checks"], client.get("/metrics").text)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def examine_node(config: Config, node: RunningNode | None) -> Iterator[Observation]:
    """Say whether it runs, whether it is ready, and whether it works by the configuration that was given."""
    if node is None:
        yield ok("node", "none runs on status.port: the ports are looked at as free")
        return
    if node.denied:
        yield warn("node", "it runs, and the password in status.password_file isn't the one it has", "restart the node")
    faults = {name: said for name, said in node.checks.items() if said != "ok"}
    for name, said in faults.items():
        yield fail(f"node: {name}", said, "see what happens when, in docs/operations.md")
    if not faults and not node.denied:
        yield ok("node", "it runs and is ready")
    yield from _version(node)
    for key, host, port in ports_of(config):
        if not _listens(host, port):
            yield fail(f"{key} {port}", "the node runs and nobody listens there", "look for the cause in its log")
    try:
        workers = live_workers(config.spool.path)
    except PermissionError:
        return  # of another user: said of the spool
    if workers:
        yield ok("worker", ", ".join(sorted(workers)))
    else:
        yield fail(
            "worker",
            "none is ready on this spool, so nothing is processed or sent",
            "look for worker_died and the lines before it in the log; with --no-worker, start sbnode work",
        )
    yield from _in_force(config)


def _version(node: RunningNode) -> Iterator[Observation]:
    found = re.search(r'^sbnode_build_info\{.*?version="([^"]*)"', node.metrics, re.MULTILINE)
    if found is not None and found[1] != __version__:
        yield warn("version", f"{found[1]} runs, and {__version__} is installed", "restart the node")


def _in_force(config: Config) -> Iterator[Observation]:
    path = config.spool.path / IN_FORCE
    try:
        _, applied, waiting = merge(load_config(path), config)
    except ConfigError as error:
        yield warn("configuration in force", str(error), "restart the node")
        return
    if waiting:
        yield warn("configuration in force", f"changed since the start: {', '.join(waiting)}", "restart the node")
    if applied:
        yield warn("configuration in force", f"changed and not in force: {', '.join(applied)}", "send the node SIGHUP")
    if not waiting and not applied:
        yield ok("configuration in force", "the one that was given")


def _reachable(host: str) -> str:
    """An address that stands for all of them listens, and can't be called."""
    try:
        unspecified = ip_address(host).is_unspecified
    except ValueError:
        return host
    return ("::1" if ":" in host else "127.0.0.1") if unspecified else host


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((_reachable(host), port), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _credentials(status: Status) -> tuple[str, str] | None:
    if status.user is None or status.password_file is None:
        return None
    password = _content(status.password_file)
    return None if password is None else (status.user, password)


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
