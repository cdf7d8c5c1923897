"""Storage Commitment for a sender, with pynetdicom as the sender that takes the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from sbnode import log
from sbnode.config import Config, Log
from sbnode.service.commitments import Reporter
from sbnode.spool import Report, Request, Spool
from tests.integration.peers import HOST
from tests.scp.instances import ct_slice, encoded

UID = "1.2.826.0.1.3680043.10.4"


@dataclass
class Sender:
    """Takes reports."""

    port: int = 0
    reports: list[Report] = field(default_factory=list)

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(Report.of(event.event_information))
        return 0x0000, None


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender()
    entity = AE(ae_title="PACS")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, made.on_report)]
    server = entity.start_server((HOST, 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    made.port = server.server_address[1]
    yield made
    server.shutdown()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool", 0)
    for number in (1, 2, 3):
        one = ct_slice(number)
        made.store(CTImageStorage, one.SOPInstanceUID, ExplicitVRLittleEndian, "PACS", encoded(one))
    return made


def reporter(spool: Spool, sender: Sender) -> Reporter:
    archive = {"name": "archive", "ae_title": "PACS", "host": HOST, "port": sender.port}
    return Reporter(Config.model_validate({"archives": [archive], "receive": {"calling_ae_titles": ["PACS"]}}), spool)


def test_each_instance_is_committed_to_or_fails_for_its_own_reason(
    spool: Spool, sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(Log())
    held, conflicting, damaged, missing = (ct_slice(number).SOPInstanceUID for number in (1, 2, 3, 4))
    path = next(spool.path.rglob(f"{damaged}.dcm"))
    path.write_bytes(path.read_bytes()[:-10])
    references = (
        (CTImageStorage, held),
        (MRImageStorage, conflicting),
        (CTImageStorage, damaged),
        (CTImageStorage, missing),
    )
    spool.commitments.owe(Request(UID, "PACS", references))
    reporter(spool, sender).turn(lambda: False)
    failed = ((conflicting, 0x0119), (damaged, 0x0112), (missing, 0x0112))
    assert sender.reports == [Report(UID, (held,), failed)]
    assert spool.commitments.owed() == ()
    (record,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"commitment"' in line]
    assert (record["outcome"], record["instances"]) == ("missing", 4)
    assert record["failures"] == {"0x0119 class / instance conflict": 1, "0x0112 no such object instance": 2}


def test_what_is_held_is_reported_without_failures(
    spool: Spool, sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(Log())
    uid = str(ct_slice(1).SOPInstanceUID)
    spool.commitments.owe(Request(UID, "PACS", ((CTImageStorage, uid),)))
    reporter(spool, sender).turn(lambda: False)
    assert sender.reports == [Report(UID, (uid,), ())]
    (record,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"commitment"' in line]
    assert record["outcome"] == "reported"
    assert "failures" not in record
