"""DCMTK sends to the Receiver: real scans, every compression that DCMTK knows, and a process that is
killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from sbnode.scp.completion import SeriesCompletion
from sbnode.spool import Spool
from tests.integration.peers import HOST, PATIENCE_S, Process, free_port, listens, program, wait_until
from tests.scp.conftest import Running, Start, start
from tests.scp.instances import STUDY, ct_slice, files

__all__ = ["start"]

ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def storescu(port: int, *arguments: str | Path, called: str = "SBNODE") -> subprocess.CompletedProcess[str]:
    command = [program("storescu", "dcmtk"), "--aetitle", "STORESCU", "--call", called, HOST, str(port)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
        check=False,
    )


def kept(running: Running) -> list[Path]:
    return sorted(running.spool.path.glob("incoming/*/*/*.dcm"))


def test_echoscu(start: Start) -> None:
    running = start()
    command = [program("echoscu", "dcmtk"), "--call", "SBNODE", HOST, str(running.port)]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    refused = subprocess.run([*command, "--aetitle", "STRANGER"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr
    refused = subprocess.run(
        [program("echoscu", "dcmtk"), "--call", "OTHER", HOST, str(running.port)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "Called AE Title Not Recognized" in refused.stderr


def test_a_real_series_of_uneven_spacing_waits_for_idle_time(start: Start, shared_data: Path) -> None:
    """Its steps are 4 mm and 7 mm, and one of 1 mm: whether slices are missing can't be seen."""
    running = start(completion={"idle_s": 2, "study_settle_s": 0})
    folder = shared_data / "ge-hispeed-tilted"
    sent = storescu(running.port, "--scan-directories", folder)
    assert sent.returncode == 0, sent.stderr
    instances = 0
    while instances < 28:  # a sender may pause for longer than idle_s on a busy machine
        study, (completion,) = running.studies.get(timeout=PATIENCE_S)
        assert completion.reason == "idle"
        instances = completion.instances
    (series,) = running.spool.series(study)
    running.spool.verify(series)
    originals = {pydicom.dcmread(path).SOPInstanceUID: path for path in folder.iterdir()}
    for instance in series.instances:
        original = originals[instance.sop_instance_uid].read_bytes()
        assert instance.path.read_bytes()[-400_000:] == original[-400_000:]


def test_a_real_series_with_its_own_compression_is_kept_as_it_is(start: Start, shared_data: Path) -> None:
    running = start(max_instance_bytes=5_000_000)
    folder = shared_data / "siemens-headneck-contrast"
    sent = storescu(running.port, "-xw", "--scan-directories", folder)
    assert sent.returncode == 0, sent.stderr[-2000:]
    study, (completion,) = running.studies.get(timeout=PATIENCE_S)
    assert completion == SeriesCompletion(completion.key, "association_end", 295)
    (series,) = running.spool.series(study)
    assert {i.transfer_syntax_uid for i in series.instances} == {"1.2.840.10008.1.2.4.91"}


COMPRESSED = {
    "explicit": ("dcmconv", ["+te"], "-xe"),
    "implicit": ("dcmconv", ["+ti"], "-xi"),
    "big endian": ("dcmconv", ["+tb"], "-xb"),
    "deflated": ("dcmconv", ["+td"], "-xd"),
    "JPEG lossless": ("dcmcjpeg", ["+e1"], "-xs"),
    "JPEG-LS": ("dcmcjpls", ["+el"], "-xt"),
    "JPEG-LS near-lossless": ("dcmcjpls", ["+en"], "-xu"),
    "RLE": ("dcmcrle", [], "-xr"),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_what_dcmtk_encodes_is_kept_and_can_be_decoded(
    start: Start, tmp_path: Path, shared_data: Path, name: str
) -> None:
    converter, options, proposal = COMPRESSED[name]
    source = shared_data / "ge-hispeed-tilted" / "14.dcm"
    if name == "JPEG-LS near-lossless":  # DCMTK encodes only unsigned pixels so
        unsigned = ct_slice()
        unsigned.PixelRepresentation = 0
        (source,) = files(tmp_path, [unsigned])
    encoded = tmp_path / "encoded.dcm"
    subprocess.run([program(converter, "dcmtk"), *options, source, encoded], check=True, timeout=60)
    running = start()
    sent = storescu(running.port, proposal, "--required", encoded)
    assert sent.returncode == 0, sent.stderr
    (path,) = kept(running)
    before, after = pydicom.dcmread(encoded), pydicom.dcmread(path)
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert (after.pixel_array == before.pixel_array).all()


def test_a_study_of_many_classes_leaves_the_rest_at_the_sender(start: Start, tmp_path: Path) -> None:
    """As when a PACS routes whole studies: what isn't CT is refused, what is CT arrives."""
    capture = ct_slice(9)
    capture.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    slices = [ct_slice(number) for number in (1, 2, 3)]
    paths = files(tmp_path, [*slices, capture])
    running = start()
    sent = storescu(running.port, "--no-halt", *paths)
    assert "No presentation context" in sent.stderr
    assert len(kept(running)) == 3
    assert running.studies.get(timeout=PATIENCE_S)[1][0].instances == 3


def test_four_senders_at_once(start: Start, tmp_path: Path) -> None:
    running = start(completion={"idle_s": 30, "study_settle_s": 2})
    folders = [tmp_path / str(sender) for sender in range(4)]
    for number, folder in enumerate(folders, start=1):
        folder.mkdir()
        files(folder, [ct_slice(one, series=f"1.2.3.{number}", size=128) for one in range(1, 21)])
    command = [program("storescu", "dcmtk"), "--call", "SBNODE", HOST, str(running.port), "+sd"]
    senders = [subprocess.Popen([*command, folder], env=ENVIRONMENT) for folder in folders]
    assert [sender.wait(timeout=120) for sender in senders] == [0] * 4
    study, series = running.studies.get(timeout=PATIENCE_S)
    assert study == STUDY
    assert [(one.reason, one.instances) for one in series] == [("association_end", 20)] * 4


SERVER = """
import itertools, os, signal, sys, threading
from pathlib import Path
from sbnode.config import Config
from sbnode.scp.server import Receiver
from sbnode.spool import Spool
spool = Spool(Path(sys.argv[1]), 0)
store, calls = spool.store, itertools.count(1)
def counted(*arguments):
    if next(calls) == int(sys.argv[3]):  # in a thread of its own, to come at any moment from now on
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGKILL)).start()
    return store(*arguments)
spool.store = counted
config = Config.model_validate({
    "node": {"host": "127.0.0.1", "port": int(sys.argv[2])},
    "receive": {"calling_ae_titles": ["STORESCU"], "completion": {"idle_s": 1, "study_settle_s": 0.1}},
})
receiver = Receiver(config, spool, lambda study, series: print("complete", study, flush=True))
receiver.start(spool.stored())
threading.Event().wait()
"""


def test_sigkill_loses_no_acknowledged_instance_and_a_restart_announces_them(tmp_path: Path) -> None:
    port = free_port()
    spool_path, log = tmp_path / "spool", tmp_path / "server.log"
    paths = files(tmp_path, [ct_slice(number, size=64) for number in range(1, 301)])
    command = [sys.executable, "-c", SERVER, str(spool_path), str(port)]
    server = Process.start("receiver", [*command, "50"], log)
    wait_until(lambda: listens(port), 60, "the receiver listens")
    sender_log = tmp_path / "storescu.log"
    with sender_log.open("w") as output:
        sender = subprocess.Popen(
            [program("storescu", "dcmtk"), "-v", "--call", "SBNODE", HOST, str(port), *map(str, paths)],
            env=ENVIRONMENT,
            stdout=output,
            stderr=output,
        )
        sender.wait(timeout=120)
    server.stop()
    acknowledged = sender_log.read_text().count("Received Store Response (Success)")
    assert 40 <= acknowledged < 300
    spool = Spool(spool_path, 0)
    (series,) = spool.series(STUDY)
    spool.verify(series)
    assert {instance.instance_number for instance in series.instances} >= set(range(1, acknowledged + 1))
    again = Process.start("receiver", [*command, "0"], log)
    wait_until(lambda: f"complete {STUDY}" in log.read_text(), 60, "the study was announced after the restart")
    again.stop()


def test_a_retry_after_an_abort_is_one_series(start: Start, tmp_path: Path) -> None:
    """The first sender breaks off after ten slices, the second sends all twenty."""
    paths = files(tmp_path, [ct_slice(number) for number in range(1, 21)])
    running = start()
    assert storescu(running.port, "--abort", *paths[:10]).returncode == 0
    assert storescu(running.port, *paths).returncode == 0
    _, (completion,) = running.studies.get(timeout=PATIENCE_S)
    assert (completion.reason, completion.instances) == ("association_end", 20)
    assert len(kept(running)) == 20
    assert all(status == 0 for status, _, _ in running.observed.answers)
