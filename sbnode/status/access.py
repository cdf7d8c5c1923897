"""Who asks, and what they may: passwords by RFC 7617, a limit on wrong ones, and who counts as local."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sbnode.log import get_logger
from sbnode.status.accounts import Account, account_of, user_of

__all__ = ["Attempts", "BasicAuthentication", "Viewer", "viewer"]

_OPEN_PATHS = ("/healthz",)
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""What proxies add: who asks isn't on this machine then, whatever the address of the connection says."""

_BURST = 10
"""Wrong passwords in a row that an address may try without waiting."""
_REFILL_S = 10.0
"""After that, one more each so many seconds."""
_ADDRESSES = 4096
"""Addresses that are remembered; the one that was longest silent is forgotten first."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks: the user they logged in as, if any, and their address.

    ``trusted`` is who logged in, and where no user is configured, who is on this machine: results and retries are for
    them alone. Objects that name the patient are for who logged in.
    """

    user: str | None
    address: str
    trusted: bool

    @property
    def authenticated(self) -> bool:
        """Whether they logged in."""
        return self.user is not None


def viewer(scope: Scope, user: str | None) -> Viewer:
    """Return who asks; ``user`` is who `BasicAuthentication` has let through, None where nobody has to log in."""
    address = str((scope.get("client") or ("",))[0])
    return Viewer(user, address, user is not None or _is_local(Headers(scope=scope), address))


def _is_local(headers: Headers, address: str) -> bool:
    """Whether a request comes from this machine and was meant for it.

    A page of elsewhere whose name was made to lead here (DNS rebinding) names itself in Host. A proxy on this machine
    tells of itself, or should.
    """
    if not _is_loopback(address) or any(name in headers for name in _PROXY_HEADERS):
        return False
    host = headers.get("host", "").casefold()
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdecimal():
        name = host
    return name in _LOCAL_NAMES


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


class Attempts:
    """Counts wrong passwords by address. Memory is bounded; IPv6 addresses count by their network of 64 bits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By address: attempts used up, and when that was."""

    def wait_s(self, address: str) -> float:
        """Return how long an address must wait before its next attempt; 0: not at all."""
        return max(0.0, (self._level(_network(address)) - _BURST + 1) * _REFILL_S)

    def failed(self, address: str) -> None:
        """A wrong password came from an address."""
        network = _network(address)
        self._spent[network] = (self._level(network) + 1, self._clock())
        self._spent.move_to_end(network)
        while len(self._spent) > _ADDRESSES:
            self._spent.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """The right one came."""
        self._spent.pop(_network(address), None)

    def _level(self, network: str) -> float:
        level, since_s = self._spent.get(network, (0.0, 0.0))
        return max(0.0, level - (self._clock() - since_s) / _REFILL_S)


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)


class BasicAuthentication:
    """Lets through who knows the password of one of ``accounts`` (RFC 7617), and everybody to ``/healthz``.

    Who gets through is in the scope as ``sbnode.user``; who asks for what their account isn't for is answered 403.
    Wrong passwords are limited by address: beyond it 429, whatever the password is. Those under the name of a lesser
    account, which only its own password could follow, count for themselves; all others count together.
    """

    def __init__(self, app: ASGIApp, accounts: Sequence[Account]) -> None:
        self._app = app
        self._accounts = tuple(accounts)
        self._lesser = {account.user: Attempts() for account in accounts if account.paths is not None}
        self._others = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a refusal."""
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        address = str((scope.get("client") or ("",))[0])
        attempts = self._lesser.get(user_of(given) or "", self._others)
        wait_s = attempts.wait_s(address) if given else 0.0
        account = account_of(given, self._accounts)
        if wait_s > 0:
            await _refusal("too many wrong passwords; wait\n", 429, {"Retry-After": str(ceil(wait_s))})(
                scope, receive, send
            )
        elif account is not None and not account.may_ask(scope["path"]):
            await _refusal("this account is for /metrics and /readyz alone\n", 403, {})(scope, receive, send)
        elif account is not None:
            if account.paths is None:  # a monitor's comes all the time: whoever guesses beside it would never wait
                attempts.succeeded(address)
            await self._app({**scope, "sbnode.user": account.user}, receive, send)
        else:
            if given:  # a browser first asks without a password, to hear that it needs one
                attempts.failed(address)
                get_logger().warning(
                    "login_refused", address=address, account="people" if attempts is self._others else "monitor"
                )
            challenge = {"WWW-Authenticate": 'Basic realm="sbnode", charset="UTF-8"'}
            await _refusal("user and password, please\n", 401, challenge)(scope, receive, send)


def _refusal(text: str, status: int, headers: Mapping[str, str]) -> PlainTextResponse:
    return PlainTextResponse(text, status, {**headers, "Cache-Control": "no-store"})
