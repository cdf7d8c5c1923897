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
from sbnode.config import Config, load_config
from sbnode.doctor.observation import Observation, fail, ok, warn
from sbnode.errors import ConfigError
from sbnode.jobs.lease import live_workers
from sbnode.service.check import ports_of
from sbnode.service.receiving import IN_FORCE
from sbnode.service.settings import merge
from sbnode.status.accounts import read_password

__all__ = ["RunningNode", "ask_node", "examine_node"]

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RunningNode:
    """What a node answered: its conditions for being ready, with what is wrong, and its metrics as text.

    Both are empty when it doesn't take the password of people. ``refused`` are the keys of ``status`` whose password
    it doesn't take, and ``limited`` those of which it takes none for now, because too many wrong ones came.
    """

    checks: dict[str, str]
    metrics: str
    refused: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()

    @property
    def denied(self) -> bool:
        """Whether it didn't say how it is."""
        return "password_file" in (*self.refused, *self.limited)


def ask_node(config: Config) -> RunningNode | None:
    """Ask the node on ``config.status``, or return None when none answers there."""
    host = _reachable(config.status.host)
    base = f"http://[{host}]" if ":" in host else f"http://{host}"
    try:
        with httpx.Client(base_url=f"{base}:{config.status.port}", timeout=_TIMEOUT_S, trust_env=False) as client:
            if client.get("/healthz").text.strip() != "ok":
                return None
            people = _login("password_file", config.status.user, config.status.password_file)
            ready = client.get("/readyz", auth=people)
            answers = {"password_file": ready.status_code}
            monitor = _login("monitor_password_file", config.status.monitor_user, config.status.monitor_password_file)
            if monitor is not None:
                answers["monitor_password_file"] = client.get("/readyz", auth=monitor).status_code
            refused = tuple(key for key, status in answers.items() if status == httpx.codes.UNAUTHORIZED)
            limited = tuple(key for key, status in answers.items() if status == httpx.codes.TOO_MANY_REQUESTS)
            if "password_file" in refused + limited:
                return RunningNode({}, "", refused, limited)
            metrics = client.get("/metrics", auth=people).text
            return RunningNode(json.loads(ready.text)["checks"], metrics, refused, limited)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def examine_node(config: Config, node: RunningNode | None) -> Iterator[Observation]:
    """Say whether it runs, whether it is ready, and whether it works by the configuration that was given."""
    if node is None:
        yield ok("node", "none runs on status.port: the ports are looked at as free")
        return
    for key in node.refused:
        yield warn("node", f"it runs, and the password in status.{key} isn't the one it has", "restart the node")
    for key in node.limited:
        yield warn(
            "node",
            f"it runs, and too many wrong passwords came from this machine to try that of status.{key}",
            "look for login_refused in its log, end what sends them, and look again after 2 min",
        )
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


def _login(key: str, user: str | None, path: Path | None) -> httpx.BasicAuth | None:
    """Who to log in as; None: nobody, or the file can't be read, which is said of the configuration."""
    if user is None or path is None:
        return None
    try:
        return httpx.BasicAuth(user.encode(), read_password(key, path).encode())
    except ConfigError:
        return None
