"""SIGTERM: what is open has `node.drain_s` to end, associations and steps at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.integration.peers import listens, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node
from tests.scp.instances import ct_slice

pytestmark = [*MORTAL]


@pytest.fixture
def running(tmp_path: Path, archive_port: int) -> Iterator[Callable[[float, float], Node]]:
    """Gives a node with this ``drain_s``, in the middle of a step that takes so many seconds."""
    made: list[Node] = []

    def start(drain_s: float, step_s: float) -> Node:
        node = Node(tmp_path, archive_port)
        made.append(node)
        content = yaml.safe_load(node.config.read_text())
        content["node"]["drain_s"] = drain_s
        node.config.write_text(yaml.safe_dump(content))
        node.will("slow", str(step_s))
        node.start()
        node.send()
        wait_until(lambda: node.runs == 1, START_S, "the step runs")
        return node

    yield start
    for node in made:
        node.close()


def test_a_step_that_takes_longer_is_cut_off_and_done_again(
    running: Callable[[float, float], Node], archive: Archive
) -> None:
    node = running(1, 15)
    assert node.terminate() == 0
    assert '"drained": false' in node.log()
    assert archive.received == {}
    (node.folder / "slow").unlink()
    node.start()
    wait_until(lambda: len(archive.received) == 2, START_S, "both objects at the archive")
    assert node.runs == 2


def test_a_step_and_an_association_may_end_within_it(running: Callable[[float, float], Node], archive: Archive) -> None:
    node = running(120, 25)
    entity = AE(ae_title="STORESCU")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", node.port, ae_title="SBNODE")
    node.begin_to_terminate()
    wait_until(lambda: not listens(node.port), START_S, "the port is closed")
    for _ in range(3):  # twelve seconds; what is quiet for 15 s is ended at once
        time.sleep(4)
        assert association.send_c_echo().Status == 0x0000
    data_set = ct_slice(1, study="1.2.4", series="1.2.4.1")
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert association.send_c_store(data_set).Status == 0x0000
    association.release()
    assert node.terminate() == 0
    assert '"drained": true' in node.log()
    assert node.runs == 1
    assert len(list((node.folder / "spool" / "results").glob("*/seg.dcm"))) == 1
    assert len(list((node.folder / "spool" / "incoming" / "1.2.4").glob("*/*.dcm"))) == 1
