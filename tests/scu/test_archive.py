"""C-FIND and C-MOVE against DCMTK's dcmqrscp, which holds a series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from sbnode.config import Archive
from sbnode.errors import ConfigError, DestinationUnavailable
from sbnode.scu.archive import Archives, held
from sbnode.scu.send import store
from sbnode.series import SeriesKey
from tests.integration.peers import HOST, Process, free_port, listens, program, wait_until
from tests.scp.instances import ct_slice

KEY = SeriesKey("1.2.3", "1.2.3.1")
SLICES = 5

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::ResourceWarning")]

_CONFIG = """
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
node = (SBNODE, 127.0.0.1, {node_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
ARCHIVE {folder} RW (100, 1024mb) ANY
AETable END
"""


@pytest.fixture
def dcmqrscp(tmp_path: Path) -> Iterator[tuple[Archive, int]]:
    """An archive with five slices, and the port to which it moves instances."""
    folder = tmp_path / "archive"
    folder.mkdir()
    port, node_port = free_port(), free_port()
    settings = tmp_path / "dcmqrscp.cfg"
    settings.write_text(_CONFIG.format(port=port, node_port=node_port, folder=folder))
    process = Process.start("dcmqrscp", [program("dcmqrscp", "dcmtk"), "-c", settings], tmp_path / "log")
    process.ready(lambda: listens(port), timeout_s=10)
    archive = Archive(name="pacs", ae_title="ARCHIVE", host=HOST, port=port, timeout_s=10, retrieve=True)
    for number in range(1, SLICES + 1):
        path = tmp_path / f"{number}.dcm"
        dataset = ct_slice(number, study=KEY.study_instance_uid, series=KEY.series_instance_uid)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(path, enforce_file_format=True)
        assert store(path, archive, "SBNODE") == 0  # type: ignore[arg-type]
    yield archive, node_port
    process.stop()


def test_a_series_is_counted_and_its_instances_are_listed(dcmqrscp: tuple[Archive, int]) -> None:
    archive, _ = dcmqrscp
    archives = Archives([archive], "SBNODE")
    assert archives.expected_count(KEY) == SLICES
    assert archives.expected_count(SeriesKey("1.2.3", "1.2.3.99")) is None
    expected = {ct_slice(number, study="1.2.3", series="1.2.3.1").SOPInstanceUID for number in range(1, SLICES + 1)}
    assert held(KEY, archive, "SBNODE") == expected


def test_a_series_is_sent_again_to_the_node(dcmqrscp: tuple[Archive, int]) -> None:
    archive, node_port = dcmqrscp
    came: list[str] = []

    def on_store(event: evt.Event) -> int:
        came.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    node = AE(ae_title="SBNODE")
    node.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = node.start_server((HOST, node_port), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        assert Archives([archive], "SBNODE").retrieve(KEY)
        wait_until(lambda: len(set(came)) == SLICES, 10, "all instances came")
    finally:
        server.shutdown()
    assert len(set(came)) == SLICES


def test_an_archive_that_is_down_says_nothing_and_stops_nothing() -> None:
    down = Archive(name="down", ae_title="X", host=HOST, port=free_port(), timeout_s=1, retrieve=True)
    archives = Archives([down], "SBNODE")
    assert archives.expected_count(KEY) is None
    assert archives.retrieve(KEY)  # in a thread of its own, which says in the log that nothing came
    with pytest.raises(DestinationUnavailable):
        held(KEY, down, "SBNODE")


def test_one_that_can_not_be_asked_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it: down, or its certificate is being replaced."""
    asked: list[str] = []

    def no(_: object, peer: Archive, __: str) -> None:
        asked.append(peer.name)
        raise ConfigError("tls: certificate can't be used")

    monkeypatch.setattr("sbnode.scu.archive._find", no)
    archives = Archives([Archive(name=n, ae_title=n.upper(), host=HOST, port=104) for n in ("a", "b")], "SBNODE")
    for series in ("1.1", "1.2", "1.3"):
        assert archives.expected_count(SeriesKey("1.2.3", series)) is None
    assert asked == ["a", "b"]


def test_one_series_is_not_asked_for_after_every_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    answer = Dataset()
    answer.NumberOfSeriesRelatedInstances = 7
    monkeypatch.setattr("sbnode.scu.archive._find", lambda *a: asked.append(a) or iter([answer]))
    archives = Archives([Archive(name="a", ae_title="A", host=HOST, port=104)], "SBNODE")
    assert [archives.expected_count(KEY) for _ in range(5)] == [7] * 5
    assert len(asked) == 1
