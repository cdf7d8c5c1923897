"""What other releases left in spool and queue is taken up by this one, whatever was in flight."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info

from sbnode.spool import Spool
from sbnode.spool.record import Record
from tests.faults import releases
from tests.integration.peers import wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node

pytestmark = [*MORTAL]

SPOOLS = sorted((Path(__file__).parent / "spools").glob("*.tar.xz"))


def test_there_is_a_spool_to_read() -> None:
    assert SPOOLS


def as_of_a_later_release(spool: Path) -> None:
    """Write more into every file of a spool than this release knows."""
    for path in (spool / "jobs").glob("*.json"):
        content = json.loads(path.read_text())
        content["later"] = 1
        content["decision"] = {**content.get("decision", {}), "later": 1}
        path.write_text(json.dumps(content))
    (spool / "notices.json").write_text(json.dumps({"later": 1, "told": {"kept": "2026-01-01T00:00:00+00:00"}}))
    for path in (spool / "incoming").glob("*/*/*.dcm"):
        data_set = Record.read(path).data_set()
        meta = read_file_meta_info(path)
        record = json.loads(meta.PrivateInformation)
        record["facts"]["later"] = record["later"] = 1
        encoded = json.dumps(record).encode()
        meta.PrivateInformation = encoded + b" " * (len(encoded) % 2)
        head = DicomBytesIO()
        head.write(bytes(128) + b"DICM")
        write_file_meta_info(head, meta)
        path.write_bytes(head.getvalue() + data_set)


@pytest.mark.parametrize("later", [False, True], ids=["upgrade", "rollback"])
@pytest.mark.parametrize("packed", SPOOLS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_what_was_in_flight_is_delivered_once_and_what_was_done_is_left(
    packed: Path, later: bool, tmp_path: Path, archive: Archive, archive_port: int
) -> None:
    with tarfile.open(packed) as content:
        content.extractall(tmp_path / "spool", filter="data")
    if later:
        as_of_a_later_release(tmp_path / "spool")
    spool = Spool(tmp_path / "spool", 0)
    for study in (releases.DELIVERED, releases.WAITING, releases.ACKNOWLEDGED):
        for series in spool.series(study):
            assert len(series.instances) == 45
            spool.verify(series)
    node = Node(tmp_path, archive_port)
    try:
        node.start()
        wait_until(lambda: len(archive.received) == 4, START_S, "both objects of both studies at the archive")
        wait_until(lambda: {item.state for item in node.items()} == {"done"}, START_S, "everything is done")
        assert set(archive.received.values()) == {1}
    finally:
        node.close()
