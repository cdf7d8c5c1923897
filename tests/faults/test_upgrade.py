"""What earlier releases left in spool and queue is taken up by this one, whatever was in flight."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from sbnode.spool import Spool
from tests.faults import releases
from tests.integration.peers import wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node

pytestmark = [*MORTAL]

SPOOLS = sorted((Path(__file__).parent / "spools").glob("*.tar.xz"))


def test_there_is_a_spool_to_read() -> None:
    assert SPOOLS


@pytest.mark.parametrize("packed", SPOOLS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_what_was_in_flight_is_delivered_once_and_what_was_done_is_left(
    packed: Path, tmp_path: Path, archive: Archive, archive_port: int
) -> None:
    with tarfile.open(packed) as content:
        content.extractall(tmp_path / "spool", filter="data")
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
