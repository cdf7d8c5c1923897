"""Fixtures that start real peers and the node, and show what they wrote when a test fails."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.peers import RUNNING, Node, Orthanc, Process, free_port, start_storescp


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.extend((f"output of {process.name}", process.tail()) for process in RUNNING)
    return report


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Starts an Orthanc: ``orthanc({"node": ("SBNODE", port)})``; more than one with other AE titles."""
    started: list[Orthanc] = []

    def start(modalities: dict[str, tuple[str, int]], ae_title: str = "ORTHANC") -> Orthanc:
        started.append(Orthanc.start(tmp_path / ae_title.lower(), modalities, ae_title))
        return started[-1]

    yield start
    for one in started:
        one.process.stop()


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., tuple[Process, int, Path]]]:
    """Starts DCMTK's storescp: ``process, port, folder = storescp("ARCHIVE", options)``."""
    started: list[Process] = []

    def start(
        ae_title: str = "STORESCP", options: tuple[str, ...] = (), port: int | None = None
    ) -> tuple[Process, int, Path]:
        folder = tmp_path / f"{ae_title.lower()}-received"
        port = port or free_port()
        started.append(start_storescp(folder, port, ae_title, options))
        return started[-1], port, folder

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes a node: ``node(destinations=[...])`` with sections of the configuration; the test starts it."""
    made: list[Node] = []

    def configure(**sections: Any) -> Node:
        made.append(Node.configure(tmp_path / f"node-{len(made)}", **sections))
        return made[-1]

    yield configure
    for one in made:
        one.stop()
