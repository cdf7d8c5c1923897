"""Overviews and sources of the status page, as the tests need them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from sbnode.errors import QueueBusy, QueueUnavailable
from sbnode.status import PageSource, application
from sbnode.status.accounts import MONITORED, Account
from sbnode.status.overview import (
    Certificate,
    Destination,
    Disk,
    Fault,
    Incoming,
    Model,
    Overview,
    Queue,
    QueueLine,
    Receiving,
    Result,
    Running,
    Sent,
)

NOW_S = 1_800_000_000.0
JOB = "65bea90fb36b89248bd377c2c4490c79"
ITEM = f"{JOB}.pacs.seg"
CREDENTIALS = "radiology:gei\u00dfbock"
MONITOR = "prometheus:b\u00e4r"
DAY_S = 86400.0


def overview(**changed: Any) -> Overview:
    """A node that has nothing to do, with what is changed."""
    content: dict[str, Any] = {
        "at_s": NOW_S,
        "ae_title": "SBNODE",
        "version": "0.1.0",
        "receiving": Receiving(),
        "queue": Queue((QueueLine("study", 0, 0.0), QueueLine("inference", 0, 0.0)), (), ()),
        "running": (),
        "results": (),
        "disk": Disk(500_000_000_000, 1_000_000_000_000, 2_000_000_000, 500_000_000),
        "workers": ("worker-1",),
        "worker_wanted": True,
        "models": (Model("skullbase", "0.3.0", "4abdb78137e8" * 5),),
        "certificates": (Certificate("node", NOW_S + 90 * DAY_S),),
    }
    return Overview(**{**content, **changed})


def result(**changed: Any) -> Result:
    content: dict[str, Any] = {
        "job": JOB,
        "made_s": NOW_S - 200,
        "files": ("preview.png", "surface.stl", "seg.dcm"),
        "slices": 178,
        "volume_ml": 228.3,
        "inferred_share": 0.007,
        "flags": (("metal", "2.3 mL at 3000 HU and above"),),
        "seconds": 117.6,
        "model": "skullbase 0.3.0",
        "sent": (Sent("pacs", 2, 4, 0),),
    }
    return Result(**{**content, **changed})


def busy(**changed: Any) -> Overview:
    """Everything that can be shown is there."""
    receiving = Receiving((("CT1", 2),), (Incoming("735aad6c5582", 45, 3.0, False),), 1)
    faults = (
        Fault(
            ITEM, "dead letter", "Sending the Segmentation to pacs", "pacs", "given up after 10 attempts", NOW_S - 90
        ),
        Fault("study-1", "rejected", "Choosing the series of a study", "", "no usable series", NOW_S - 4000),
    )
    lines = (QueueLine("study", 1, 4.0), QueueLine("inference", 7, 640.0), QueueLine("delivery.pacs", 3, 7300.0))
    destinations = (Destination("pacs", "C-STORE", "fails", 3, 7300.0, 1, NOW_S - 8000, "the connection was refused"),)
    content: dict[str, Any] = {
        "receiving": receiving,
        "queue": Queue(lines, faults, destinations),
        "running": (Running("worker-1", JOB, "inference", 0.43, 4, 10, NOW_S - 65),),
        "results": (result(),),
    }
    return overview(**{**content, **changed})


class Browser:
    """Asks an application as a browser at ``address`` that calls it ``host``, without a network, and keeps cookies."""

    def __init__(self, app: Starlette, address: str, host: str) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, client=(address, 50000)), base_url=f"http://{host}"
        )
        self.headers, self.cookies = self._client.headers, self._client.cookies

    def log_in(self, credentials: str) -> None:
        user, _, password = credentials.partition(":")
        self._client.auth = httpx.BasicAuth(user.encode(), password.encode())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._client.request(method, path, **options))


@dataclass
class Node:
    """What the page is made of, and what it was told to do."""

    folder: Path
    shows: Overview
    retries: list[str] = field(default_factory=list)
    audited: list[tuple[str, str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    dismissals: list[tuple[str, str]] = field(default_factory=list)
    retried: int | Literal["busy"] | None = 1
    """How much a retry starts, or a dismissal puts away; None: the queue doesn't answer."""

    def source(self) -> PageSource:
        return PageSource(
            overview=lambda: self.shows,
            result_folder=self._folder,
            retry=self._retry,
            dismiss=self._dismiss,
            reasons={"not_needed": "no longer needed", "test": "a test"},
            exported=lambda *facts: self.audited.append(facts),
        )

    def _folder(self, job: str) -> Path:
        self.asked.append(job)
        return self.folder / "results" / job

    def _retry(self, item: str, user: str, address: str) -> int:
        if self.retried is None:
            raise QueueUnavailable("the database of the queue doesn't answer")
        if self.retried == "busy":
            raise QueueBusy("another change is under way; nothing was done, try again")
        self.retries.append(item)
        if self.retried:
            self.audited.append((user, address, item))
        return self.retried

    def _dismiss(self, item: str, reason: str, user: str, address: str) -> int:
        count = self._retry(item, user, address)
        self.dismissals.append((self.retries.pop(), reason))
        return count

    def client(
        self,
        *,
        user: str | None = None,
        monitor: str | None = None,
        address: str = "127.0.0.1",
        host: str = "127.0.0.1:9464",
        credentials: str | None = None,
    ) -> Browser:
        """A browser at ``address`` that calls the node ``host``; ``user`` is "user:password" that the node asks
        for, ``monitor`` that of the account for ``/metrics`` and ``/readyz``.
        """
        accounts = []
        for one, paths in ((user, None), (monitor, MONITORED)):
            if one is not None:
                name, _, password = one.partition(":")
                accounts.append(Account(name, password, paths))
        browser = Browser(application(CollectorRegistry(), dict, accounts, self.source()), address, host)
        if credentials is not None:
            browser.log_in(credentials)
        return browser

    def make_result(self, job: str = JOB) -> None:
        folder = self.folder / "results" / job
        folder.mkdir(parents=True)
        for name in ("preview.png", "surface.stl", "seg.dcm", "result.json"):
            (folder / name).write_bytes(name.encode())
