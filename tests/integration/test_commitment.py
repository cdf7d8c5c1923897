"""Storage Commitment and queries with Orthanc, both ways; the node's pipeline takes no time, all else is real."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.integration.peers import HOST, Node, Orthanc, wait_until
from tests.scp.instances import ct_slice

SLICES = 50
FAKE = (sys.executable, "-m", "tests.integration.fake_node")

pytestmark = pytest.mark.timeout(180)


def write(folder: Path, number: int) -> None:
    dataset = ct_slice(number, study="1.2.3", series="1.2.3.1")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def study(folder: Path) -> Path:
    """A head CT of one series, as files."""
    folder.mkdir()
    for number in range(1, SLICES + 1):
        write(folder, number)
    return folder


def hospital(
    tmp_path: Path, node: Callable[..., Node], orthanc: Callable[..., Orthanc], **archive_settings: Any
) -> tuple[Node, Orthanc]:
    """A node with a fake pipeline, and an archive that is its sender and its destination."""
    made = node(receive={"calling_ae_titles": ["ORTHANC"], "completion": {"idle_s": 3.0, "study_settle_s": 0.5}})
    archive = orthanc({"node": (made.ae_title, made.port)})
    peer = {"ae_title": archive.ae_title, "host": HOST, "port": archive.dicom_port}
    made.settings["archives"] = [{"name": "archive", **peer, **archive_settings}]
    made.settings["destinations"] = [{"name": "archive", **peer, "objects": ["seg", "stl"], "confirm": "commitment"}]
    made.settings["audit"] = {"path": str(made.folder / "audit.jsonl")}
    made.command = FAKE
    made.start()
    return made, archive


def test_the_archive_commits_to_what_it_was_sent_and_the_node_to_what_it_received(
    tmp_path: Path, node: Callable[..., Node], orthanc: Callable[..., Orthanc]
) -> None:
    made, archive = hospital(tmp_path, node, orthanc)
    sent = archive.upload(study(tmp_path / "study"))
    archive.send(sent, "node")

    def proven() -> bool:
        counts = made.metrics()
        return all(
            counts.get(f'sbnode_proofs_total{{destination="archive",object="{kind}",status="proven"}}') == 1
            for kind in ("seg", "stl")
        )

    wait_until(proven, 60, "the archive committed to both objects")
    assert made.metrics()['sbnode_series_completed_total{reason="count"}'] == 1
    # The reports came on associations of the archive's own.
    assert 'sbnode_proofs_total{destination="archive",object="seg",status="waiting"}' in made.metrics()

    def ask() -> dict[str, Any]:
        asked = archive.post("/modalities/node/storage-commitment", {"Resources": [sent]})
        wait_until(lambda: archive.get(asked["Path"])["Status"] != "Pending", 60, "the node reported")
        report: dict[str, Any] = archive.get(asked["Path"])
        return report

    answer = ask()
    assert answer["Status"] == "Success"
    assert len(answer["Success"]) == SLICES
    # One that the node never received.
    one_more = tmp_path / "one more"
    one_more.mkdir()
    write(one_more, SLICES + 1)
    archive.upload(one_more)
    answer = ask()
    assert answer["Status"] == "Failure"
    assert len(answer["Success"]) == SLICES
    assert [failure["SOPInstanceUID"] for failure in answer["Failures"]] == [f"1.2.3.1.{SLICES + 1}"]
    commitments = made.folder / "spool" / "commitments"
    # The archive has the report a moment before the node knows that it has.
    wait_until(lambda: not list(commitments.rglob("*.json")), 60, "nothing is owed or waited for any more")

    audited = [json.loads(line) for line in (made.folder / "audit.jsonl").read_text().splitlines()]
    transfers = [
        (record["EventActionCode"], record["ParticipantObject"][0]["NumberOfInstances"]) for record in audited[1:]
    ]
    assert transfers == [("C", SLICES), ("R", 1), ("R", 1)]
    assert_no_patient_data(made)


def assert_no_patient_data(node: Node) -> None:
    """The patient's name and ID stand in DICOM objects alone: in no log, metric, queue, manifest or audit trail."""
    with urlopen(f"{node.status_url}/metrics", timeout=60) as answer:
        texts = {"metrics": answer.read()}
    node.stop()
    texts |= {str(path): path.read_bytes() for path in node.folder.rglob("*") if path.is_file()}
    assert any(name.endswith("queue.sqlite") for name in texts)
    assert any(name.endswith("sbnode.log") for name in texts)
    holding = {name for name, content in texts.items() if b"CANARY" in content}
    assert holding
    assert {Path(name).suffix for name in holding} == {".dcm"}


def test_what_is_missing_of_a_series_is_fetched(
    tmp_path: Path, node: Callable[..., Node], orthanc: Callable[..., Orthanc]
) -> None:
    made, archive = hospital(tmp_path, node, orthanc, retrieve=True)
    archive.upload(study(tmp_path / "study"))
    (series,) = archive.get("/series")
    some = archive.get(f"/series/{series}")["Instances"][: SLICES // 2]
    answer = archive.post("/modalities/node/store", {"Resources": some, "Synchronous": True})
    assert answer["FailedInstancesCount"] == 0
    stored = made.folder / "spool" / "incoming" / "1.2.3" / "1.2.3.1"
    assert len(list(stored.iterdir())) == SLICES // 2
    wait_until(lambda: len(list(stored.iterdir())) == SLICES, 60, "the other half came by C-MOVE")
    wait_until(lambda: made.metrics().get('sbnode_jobs_total{outcome="done"}') == 1, 60, "one job was done")
