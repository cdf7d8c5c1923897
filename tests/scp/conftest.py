"""A Receiver on a free port with a spool of its own, and what it told its observer."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from sbnode.audit import Participant
from sbnode.config import Config
from sbnode.scp.completion import SeriesCompletion
from sbnode.scp.server import Receiver
from sbnode.series import SeriesKey
from sbnode.spool import Spool
from tests.integration.peers import HOST, PATIENCE_S, free_port

SETTINGS: dict[str, Any] = {
    "calling_ae_titles": ["PACS", "STORESCU", "ECHOSCU"],
    "completion": {"idle_s": 30, "study_settle_s": 0.2},
    "network_timeout_s": 60,
    "max_instance_bytes": 1_000_000,
}


@dataclass
class Observed:
    """An Observer that remembers."""

    associations: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[int, int, bool]] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)
    completions: list[SeriesCompletion] = field(default_factory=list)
    transfers: list[tuple[Participant, dict[str, int]]] = field(default_factory=list)
    strangers: list[Participant] = field(default_factory=list)

    def association(self, outcome: str, calling_ae_title: str) -> None:
        self.associations.append((outcome, calling_ae_title))

    def answered(self, calling_ae_title: str, status: int, data_set_bytes: int, new: bool, seconds: float) -> None:
        assert calling_ae_title
        assert seconds > 0
        self.answers.append((status, data_set_bytes, new))

    def oversized(self, calling_ae_title: str) -> None:
        self.too_large.append(calling_ae_title)

    def completed(self, completion: SeriesCompletion) -> None:
        self.completions.append(completion)

    def transferred(self, sender: Participant, instances: Mapping[str, int]) -> None:
        self.transfers.append((sender, dict(instances)))

    def turned_away(self, caller: Participant) -> None:
        self.strangers.append(caller)


@dataclass
class Running:
    """A started Receiver."""

    receiver: Receiver
    spool: Spool
    observed: Observed
    studies: queue.Queue[tuple[str, tuple[SeriesCompletion, ...]]]

    @property
    def port(self) -> int:
        return self.receiver.ports[0]


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a Receiver: ``start(node={...}, max_associations=1)``; keywords are keys of ``receive``."""
    started: list[Running] = []

    def run(
        node: dict[str, Any] | None = None,
        stored: dict[SeriesKey, int] | None = None,
        min_free_bytes: int = 0,
        archives: Sequence[dict[str, Any]] = (),
        **receive: Any,
    ) -> Running:
        config = Config.model_validate(
            {
                "node": {"host": HOST, "port": free_port()} | (node or {}),
                "receive": SETTINGS | receive,
                "archives": archives,
            }
        )
        spool = Spool(tmp_path / "spool", min_free_bytes, config.receive.max_instance_bytes)
        studies: queue.Queue[tuple[str, tuple[SeriesCompletion, ...]]] = queue.Queue()
        observed = Observed()

        def complete(study: str, series: tuple[SeriesCompletion, ...]) -> None:
            studies.put((study, series))

        running = Running(Receiver(config, spool, complete, observed), spool, observed, studies)
        running.receiver.start(stored)
        started.append(running)
        return running

    yield run
    for running in started:
        running.receiver.stop(grace_s=2)


def associate(
    port: int,
    *syntaxes: str,
    sop_class: str = CTImageStorage,
    calling: str = "PACS",
    called: str = "SBNODE",
    **keywords: Any,
) -> Association:
    """Request an association as a PACS would."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE_S
    context = build_context(sop_class, list(syntaxes) or [ExplicitVRLittleEndian])
    return entity.associate(
        HOST, port, contexts=[context, build_context("1.2.840.10008.1.1")], ae_title=called, **keywords
    )
