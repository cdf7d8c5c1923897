"""Who may log in, and to what: the account of people, and that of a monitor such as Prometheus."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from sbnode.config import Status
from sbnode.errors import ConfigError

__all__ = ["MONITORED", "Account", "account_of", "read_accounts", "read_password", "user_of"]

MONITORED = frozenset(("/metrics", "/readyz"))
"""What a monitor may ask for."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user with a password. ``paths`` are all that it may ask for; None: everything."""

    user: str
    password: str = field(repr=False)
    paths: frozenset[str] | None = None

    def may_ask(self, path: str) -> bool:
        """Whether this account may ask for ``path``."""
        return self.paths is None or path in self.paths

    @property
    def authorization(self) -> bytes:
        """The header by which who has the password says so (RFC 7617)."""
        return b"Basic " + base64.b64encode(f"{self.user}:{self.password}".encode())


def account_of(authorization: bytes, accounts: Sequence[Account]) -> Account | None:
    """Return whose user and password a header holds; None: nobody's. How long it takes says nothing of a password."""
    # Digests, because the lengths of what is compared may be told by time; and each, whatever the first says.
    given = sha256(authorization).digest()
    found = [one for one in accounts if compare_digest(given, sha256(one.authorization).digest())]
    return found[0] if found else None


def user_of(authorization: bytes) -> str | None:
    """Return the user that a header names, whatever its password; None: it names none (RFC 7617)."""
    scheme, _, content = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, _ = base64.b64decode(content, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name if colon else None


def read_accounts(settings: Status) -> tuple[Account, ...]:
    """Return the accounts that ``settings`` name, with their passwords; none: nobody has to log in.

    Raises:
        ConfigError: a file with a password can't be read or holds none, or both hold the same.
    """
    found: list[Account] = []
    if settings.user is not None and settings.password_file is not None:
        found.append(Account(settings.user, read_password("password_file", settings.password_file)))
    if settings.monitor_user is not None and settings.monitor_password_file is not None:
        password = read_password("monitor_password_file", settings.monitor_password_file)
        found.append(Account(settings.monitor_user, password, MONITORED))
    if len({one.password for one in found}) < len(found):
        raise ConfigError(
            "status.monitor_password_file: it holds the same password as status.password_file, so who reads the one "
            "knows the other; make another one"
        )
    return tuple(found)


def read_password(key: str, path: Path) -> str:
    """Return the password in the file that ``status.key`` names.

    Raises:
        ConfigError: it can't be read or holds none.
    """
    try:
        password = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"status.{key}: {path} can't be read") from error
    if not password:
        raise ConfigError(f"status.{key}: {path} holds no password")
    return password
