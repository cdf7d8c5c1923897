"""Backup and restore, by the very commands of docs/deployment.md: another machine goes on where the first one ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.integration.peers import free_port, program, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node

pytestmark = [*MORTAL, pytest.mark.timeout(600)]

DONE, WAITING = "1.2.3", "1.2.4"
MANUAL = (REPOSITORY / "docs" / "deployment.md").read_text()


def do(what: str, **variables: object) -> None:
    """Run the command of the manual under the heading ``what``."""
    (command,) = re.findall(rf"<!-- {what} -->\n```sh\n(.*?)```", MANUAL, re.DOTALL)
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    subprocess.run(["bash", "-euc", command], env=environment, check=True)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Callable[..., tuple[Node, Archive]]]:
    """Makes a node in a folder of its own, and the archive that it sends to."""
    made: list[tuple[Node, Archive]] = []

    def make(name: str, database: str | None = None) -> tuple[Node, Archive]:
        (tmp_path / name / "spool").mkdir(parents=True)
        port = free_port()
        made.append((Node(tmp_path / name, port, database=database), Archive(port)))
        return made[-1]

    yield make
    for node, archive in made:
        node.close()
        archive.close()


def work_and_stop(node: Node, archive: Archive) -> set[str]:
    """One study is delivered and one waits for the archive; return the UIDs of what was delivered."""
    node.start()
    node.send(DONE)
    wait_until(lambda: len(archive.received) == 2, START_S, "both objects of the first study")
    wait_until(lambda: {item.state for item in node.items()} == {"done"}, START_S, "the first study is done")
    archive.close()
    node.send(WAITING)
    wait_until(lambda: "delivery_failed" in node.log(), START_S, "a delivery of the second study waits")
    assert node.terminate() == 0
    return set(archive.received)


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> tuple[str | None, str | None]:
    """The queue of the first node and that of the second."""
    if request.param == "sqlite":
        return None, None
    program("pg_dump", "postgresql-client")
    postgres = request.getfixturevalue("postgres")
    return postgres(), postgres()


def test_another_machine_goes_on(
    tmp_path: Path,
    nodes: Callable[..., tuple[Node, Archive]],
    databases: tuple[str | None, str | None],
) -> None:
    before, after = databases
    first, archive = nodes("first", before)
    delivered = work_and_stop(first, archive)
    backup = tmp_path / "backup.tar.gz"
    do("backup", BACKUP=backup, SPOOL=first.folder / "spool")
    if before is not None:
        do("backup of the database", BACKUP=backup, DATABASE=before.replace("+psycopg", ""))
    shutil.rmtree(first.folder)

    second, elsewhere = nodes("second", after)
    do("restore", BACKUP=backup, SPOOL=second.folder / "spool")
    if after is not None:
        url = after.replace("+psycopg", "")
        subprocess.run(
            [program("createdb", "postgresql-client"), "--maintenance-db", _server(url), _name(url)], check=True
        )
        do("restore of the database", BACKUP=backup, DATABASE=url)
    second.start()
    wait_until(lambda: len(elsewhere.received) == 2, START_S, "both objects of the second study")
    wait_until(lambda: {item.state for item in second.items()} == {"done"}, START_S, "everything is done")
    assert not delivered & set(elsewhere.received)
    assert set(elsewhere.received.values()) == {1}


def _server(url: str) -> str:
    return url.rpartition("/")[0] + "/postgres"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


@pytest.mark.parametrize("kept", [("incoming",), ("incoming", "jobs", "results", "commitments")])
def test_from_what_is_left_the_rest_is_made_anew(
    kept: tuple[str, ...], nodes: Callable[..., tuple[Node, Archive]]
) -> None:
    first, archive = nodes("first")
    delivered = work_and_stop(first, archive)
    second, elsewhere = nodes("second")
    for name in kept:
        if (first.folder / "spool" / name).exists():
            shutil.copytree(first.folder / "spool" / name, second.folder / "spool" / name)
    rescanned = second.command("jobs", "rescan", "--verify")
    assert rescanned.returncode == 0, rescanned.stderr
    assert rescanned.stdout.count("45 instances, queued, or known") == 2
    second.start()
    wait_until(lambda: len(elsewhere.received) == 4, START_S, "both objects of both studies")
    wait_until(lambda: {item.state for item in second.items()} == {"done"}, START_S, "everything is done")
    assert delivered < set(elsewhere.received)


def test_the_audit_file_is_rotated_by_renaming(tmp_path: Path) -> None:
    """By logrotate itself, with the words of the manual; `tests/audit` shows that records go on in a new file."""
    logrotate = program("logrotate", "logrotate")
    (text,) = re.findall(r"<!-- logrotate -->\n```\n(.*?)```", MANUAL, re.DOTALL)
    audit = tmp_path / "audit.jsonl"
    audit.write_text("{}\n")
    tmp_path.chmod(0o755)
    (tmp_path / "conf").write_text(text.replace("/var/log/sbnode/audit.jsonl", str(audit)))
    (tmp_path / "conf").chmod(0o644)
    subprocess.run([logrotate, "--force", "--state", str(tmp_path / "state"), str(tmp_path / "conf")], check=True)
    assert not audit.exists()
    assert (tmp_path / "audit.jsonl.1").read_text() == "{}\n"
