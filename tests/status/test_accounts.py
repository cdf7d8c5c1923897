"""The accounts that the configuration names, and how a header is told to be of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbnode.config import Config, Status
from sbnode.errors import ConfigError
from sbnode.service.check import check
from sbnode.status.accounts import MONITORED, Account, account_of, read_accounts, user_of


def settings(folder: Path, people: bytes | None = b"first\n", monitor: bytes | None = b"second\n") -> Status:
    for name, content in (("people", people), ("monitor", monitor)):
        if content is not None:
            (folder / name).write_bytes(content)
    return Status(
        user="radiology",
        password_file=folder / "people",
        monitor_user="prometheus",
        monitor_password_file=folder / "monitor",
    )


def test_both_accounts_are_read(tmp_path: Path) -> None:
    people, monitor = read_accounts(settings(tmp_path))
    assert (people.user, people.password, people.paths) == ("radiology", "first", None)
    assert (monitor.user, monitor.password, monitor.paths) == ("prometheus", "second", MONITORED)
    assert "first" not in repr(people)
    assert read_accounts(Status()) == ()


def test_a_byte_order_mark_is_no_part_of_a_password(tmp_path: Path) -> None:
    """Editors of Windows begin a file with one."""
    people, monitor = read_accounts(settings(tmp_path, b"\xef\xbb\xbffirst\r\n", b"\xef\xbb\xbfsecond"))
    assert (people.password, monitor.password) == ("first", "second")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"monitor": None}, "status.monitor_password_file: .*can't be read"),
        ({"people": None}, "status.password_file: .*can't be read"),
        ({"monitor": b"\xff"}, "can't be read"),
        ({"monitor": b" \n"}, "status.monitor_password_file: .*holds no password"),
        ({"people": b""}, "status.password_file: .*holds no password"),
        ({"people": b"\xef\xbb\xbf\r\n"}, "status.password_file: .*holds no password"),
        ({"monitor": b"first"}, "the same password"),
        ({"monitor": b"\xef\xbb\xbffirst"}, "the same password"),
    ],
)
def test_a_file_without_a_password_of_its_own_is_refused_and_found_by_check(
    tmp_path: Path, changed: dict[str, bytes | None], said: str
) -> None:
    found = settings(tmp_path, **changed)
    with pytest.raises(ConfigError, match=said):
        read_accounts(found)
    (seen,) = [one for one in check(Config(status=found), spool=False, ports=False) if "passwords" in one.name]
    assert seen.fault is not None
    assert seen.is_configuration


def test_a_header_is_of_the_account_whose_user_and_password_it_holds() -> None:
    accounts = Account("a", "one"), Account("b", "two", MONITORED)
    for account in accounts:
        assert account_of(account.authorization, accounts) is account
    for header in (b"", b"Basic", b"Basic ", b"basic " + accounts[0].authorization[6:], b"Bearer x", b"\xff" * 5000):
        assert account_of(header, accounts) is None
    assert account_of(b"", ()) is None


def test_a_header_names_its_user() -> None:
    assert user_of(Account("b\u00e4r", "one:two").authorization) == "b\u00e4r"
    assert user_of(b"basic Og==") == ""
    for header in (
        b"",
        b"Basic",
        b"Basic ",
        b"Basic !",
        b"Basic \xff",
        b"Basic cHJvbWV0aGV1cw==",
        b"Basic /zo=",
        b"Bearer Og==",
    ):
        assert user_of(header) is None
