from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS

from sbnode.config import Config
from sbnode.jobs.client import Item, JobClient
from sbnode.jobs.steps import Steps
from sbnode.jobs.worker import Worker
from sbnode.spool import Spool
from tests.integration.peers import PATIENCE_S, wait_until
from tests.jobs.fakes import MODELS, Peer, fake_run

PeerFactory = Callable[..., Peer]


class Node:
    """A spool, the queue over it, and a worker in this process."""

    def __init__(self, config: Config, **replaced: Any) -> None:
        self.config = config
        self.spool = Spool(config.spool.path, 0)
        self.queue = JobClient(config, self.spool)
        self.steps = Steps(config, self.spool, MODELS, fake_run, **replaced)
        self.worker = Worker(config, self.steps)

    def states(self) -> dict[str, str]:
        """State of every item: by destination and object, or by kind."""
        return {_name(item): item.state for item in self.queue.items()}

    def item(self, name: str) -> Item:
        return next(item for item in self.queue.items() if _name(item) == name)

    def settle(self, items: int, timeout_s: float = PATIENCE_S) -> dict[str, str]:
        """Wait until the queue has this many items and none is open."""

        def settled() -> bool:
            states = [item.state for item in self.queue.items()]
            return len(states) == items and not {"queued", "running"} & set(states)

        try:
            wait_until(settled, timeout_s, f"{items} items and none open")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.states()}") from error
        return self.states()


def _name(item: Item) -> str:
    return item.id.partition(".")[2] if item.kind in ("deliver", "prove") else item.kind


@pytest.fixture
def node() -> Iterator[Callable[..., Node]]:
    """Makes nodes; one at a time, since DBOS knows one per process."""
    made: list[Node] = []

    def make(config: Config, **replaced: Any) -> Node:
        made.append(Node(config, **replaced))
        made[-1].worker.start(made[-1].queue.left_over())
        return made[-1]

    yield make
    for each in made:
        each.queue.close()
    DBOS.destroy(workflow_completion_timeout_sec=5, destroy_registry=True)


@pytest.fixture
def peer() -> Iterator[PeerFactory]:
    made: list[Peer] = []

    def make(port: int, **behaviour: object) -> Peer:
        made.append(Peer(port, **behaviour))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    return tmp_path / "spool"
