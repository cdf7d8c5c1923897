"""The peers of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.integration.peers import Postgres, free_port
from tests.integration.small_node import Archive


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Gives the URL of a database that wasn't used yet; the server starts with the first one."""
    folder = tmp_path_factory.mktemp("postgres")
    # The server may run as another user, who must be able to get there.
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    started: list[Postgres] = []
    numbers = count(1)

    def database() -> str:
        if not started:
            started.append(Postgres.start(folder / "server"))
        return started[0].url(f"queue{next(numbers)}")

    yield database
    for server in started:
        server.stop()


@pytest.fixture
def archive_port() -> int:
    return free_port()


@pytest.fixture
def archive(archive_port: int) -> Iterator[Archive]:
    made = Archive(archive_port)
    yield made
    made.close()
