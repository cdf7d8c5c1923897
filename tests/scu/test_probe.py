"""What real peers take: DCMTK's storescp, pynetdicom, Orthanc."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)
from typer.testing import CliRunner

from sbnode.cli import ExitCode, app
from sbnode.config import Destination, ResultObject
from sbnode.errors import DestinationUnavailable
from sbnode.scu.probe import OBJECT_CLASSES, probe
from tests.integration.peers import Orthanc
from tests.jobs.fakes import Peer, free_port

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def destination(port: int) -> Destination:
    return Destination(name="pacs", ae_title="PEER", host="127.0.0.1", port=port, timeout_s=5)


def test_every_object_of_the_configuration_has_a_class() -> None:
    assert set(OBJECT_CLASSES) == set(get_args(ResultObject))


def test_a_refused_class_has_no_syntax() -> None:
    port = free_port()
    peer = Peer(port, refuse="stl")
    try:
        offers = {offer.sop_class: offer.syntaxes for offer in probe(destination(port), "SBNODE")}
    finally:
        peer.close()
    assert ExplicitVRLittleEndian in offers[SegmentationStorage]
    assert offers[EncapsulatedSTLStorage] == ()


def test_orthanc_takes_all_objects(tmp_path: Path) -> None:
    archive = Orthanc.start(tmp_path, {})
    try:
        target = Destination(name="archive", ae_title=archive.ae_title, host="127.0.0.1", port=archive.dicom_port)
        offers = {offer.sop_class: offer.syntaxes for offer in probe(target, "SBNODE")}
    finally:
        archive.process.stop()
    for sop_class in (SegmentationStorage, EncapsulatedSTLStorage, Comprehensive3DSRStorage):
        assert {ExplicitVRLittleEndian, ImplicitVRLittleEndian} <= set(offers[sop_class]), sop_class.name


def test_a_destination_that_is_down_is_unavailable() -> None:
    with pytest.raises(DestinationUnavailable, match="can't be reached"):
        probe(destination(free_port()), "SBNODE")


def test_the_command_names_what_would_become_a_dead_letter(tmp_path: Path) -> None:
    port = free_port()
    peer = Peer(port, refuse="stl")
    config = tmp_path / "config.yaml"
    entry = {"name": "pacs", "ae_title": "PEER", "host": "127.0.0.1", "port": port, "objects": ["seg", "stl"]}
    config.write_text(yaml.safe_dump({"destinations": [entry]}), encoding="utf-8")
    try:
        answer = CliRunner().invoke(app, ["probe", "pacs", "--config", str(config)])
    finally:
        peer.close()
    assert answer.exit_code == ExitCode.FAILED
    assert "takes   Segmentation Storage: " in answer.output
    assert "refuses Encapsulated STL Storage" in answer.output
    assert "refuses Label Map Segmentation Storage" in answer.output
    assert "set objects: [seg]" in answer.output
    unknown = CliRunner().invoke(app, ["probe", "nobody", "--config", str(config)])
    assert unknown.exit_code == ExitCode.CONFIGURATION
    assert "the configuration has: pacs" in " ".join(unknown.output.split())
