"""What an operator's tools ask goes on being answered when one thing that is asked for hangs."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from sbnode.status import application
from tests.status.samples import Node, overview


class Hanging(Collector):
    """A state that nobody answers for until ``back`` is set."""

    def __init__(self) -> None:
        self.back = threading.Event()

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        self.back.wait(30)
        return iter(())


def test_scrapes_that_hang_take_no_thread_from_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["sbnode.status.application"], "_SCRAPE_S", 0.2)
    registry, state = CollectorRegistry(), Hanging()
    registry.register(state)
    app = application(registry, lambda: {"dicom": None}, (), Node(tmp_path, overview()).source())

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            first = [asyncio.create_task(client.get("/metrics")) for _ in range(2)]
            late = await asyncio.gather(*(client.get("/metrics") for _ in range(100)))
            assert {answer.status_code for answer in late} == {503}
            others = [(await client.get(path)).status_code for path in ("/", "/healthz", "/readyz")]
            state.back.set()
            assert [(await task).status_code for task in first] == [200, 200]
            assert (await client.get("/metrics")).status_code == 200
            return others

    assert asyncio.run(ask()) == [200, 200, 200]
