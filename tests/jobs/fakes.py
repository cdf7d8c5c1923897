"""A pipeline that takes no time, a receiving peer, and studies in a spool: what the queue's tests play with."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from sbnode import log
from sbnode.config import Config, Destination, Log, Queue, load_config
from sbnode.errors import NoSkullBase
from sbnode.inference.bone import Finding
from sbnode.inference.quality import Quality
from sbnode.inference.tiling import Tiling
from sbnode.jobs.lease import Lease
from sbnode.jobs.proof import Answer, Proof
from sbnode.jobs.steps import Steps
from sbnode.jobs.worker import Worker
from sbnode.pipeline import Models, Outcome, Progress, job_key
from sbnode.series import Series
from sbnode.spool import Spool
from tests.integration.peers import free_port as free_port
from tests.scp.instances import ct_slice, encoded

MODELS: Any = SimpleNamespace(
    occupancy=SimpleNamespace(
        description=SimpleNamespace(sha256="a" * 64), tile=Tiling(size=64, halo=8, multiple_of=8)
    ),
    region=SimpleNamespace(description=SimpleNamespace(sha256="b" * 64)),
)
OBJECTS = {"seg": SegmentationStorage, "stl": EncapsulatedSTLStorage}


def config(folder: Path, *ports: int, confirm: str = "accepted", within_s: float = 0.3, **queue: Any) -> Config:
    """One destination per port, named d0, d1, ...; retries within milliseconds."""
    law = {"first_retry_s": 0.05, "longest_retry_s": 0.2, "attempts": 3, **queue}
    return Config(
        spool={"path": folder, "min_free_bytes": 0},
        receive={"calling_ae_titles": [f"D{n}" for n in range(len(ports))]},
        destinations=tuple(
            Destination(
                name=f"d{n}",
                ae_title=f"D{n}",
                host="127.0.0.1",
                port=port,
                objects=tuple(OBJECTS),
                timeout_s=5,
                confirm=confirm,
                confirm_within_s=within_s,
            )
            for n, port in enumerate(ports)
        ),
        queue=Queue(**law),
    )


def fill(spool: Spool, study: str = "1.2.3", slices: int = 50) -> tuple[Series, ...]:
    """Store a head CT of one series that every rule of selection likes, if it has enough slices."""
    store_series(spool, study, f"{study}.1", slices)
    return spool.series(study)


def store_series(spool: Spool, study: str, series: str, slices: int) -> None:
    for number in range(1, slices + 1):
        data_set = ct_slice(number, study=study, series=series)
        spool.store(CTImageStorage, data_set.SOPInstanceUID, ExplicitVRLittleEndian, "MODALITY", encoded(data_set))


def result_object(path: Path, kind: str, entropy: str) -> Path:
    """Write a tiny object of the SOP class that the result ``kind`` has."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = OBJECTS[kind]
    meta.MediaStorageSOPInstanceUID = UID(f"2.25.{int(entropy, 16)}{list(OBJECTS).index(kind)}"[:64])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), Dataset(), file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.9"
    dataset.PatientName = "CANARY^PATIENT"
    dataset.save_as(path, enforce_file_format=True)
    return path


def fake_run(
    study: Sequence[Series],
    models: Models,
    settings: Config,
    folder: Path,
    *,
    made_at: datetime,
    progress: Progress = lambda stage, share: None,
    **_: Any,
) -> Outcome:
    """Write two objects, and what is in a folder named bundle.

    That, and files named slow, poison, refuse, broken and drift, are looked for beside the spool.
    """
    around = settings.spool.path.parent
    with (around / "runs").open("a") as runs:
        runs.write("run\n")
    if (around / "poison").exists():
        os.kill(os.getpid(), 9)
    if (around / "refuse").exists():
        raise NoSkullBase("the scan shows no skull base (confidence 0.01)")
    if (around / "broken").exists():
        raise ValueError("CANARY^PATIENT can't be converted")
    progress("inference", 0.43)
    _take_time(around / "slow")
    key = job_key(study[0], models, settings)
    for kind in OBJECTS:
        result_object(folder / f"{kind}.dcm", kind, key)
    if (around / "bundle").is_dir():
        shutil.copytree(around / "bundle", folder, dirs_exist_ok=True)
    return Outcome(folder=folder, report=_report(key, study[0], drifts=(around / "drift").exists()))


def _take_time(slow: Path) -> None:
    """Take the seconds that the file says, or until somebody removes it."""
    if slow.exists():
        end_s = time.monotonic() + float(slow.read_text())
        while slow.exists() and time.monotonic() < end_s:
            time.sleep(0.05)


def _report(key: str, series: Series, *, drifts: bool) -> Any:
    """What the metrics are told of a result; of one that drifts, all is twice as much."""
    factor = 2.0 if drifts else 1.0
    return SimpleNamespace(
        job_key=key,
        series_instance_uid=series.key.series_instance_uid,
        seconds={"read": 0.1, "inference": 0.5},
        provider="CPUExecutionProvider",
        findings=(Finding("gantry_tilt", "the gantry was tilted by 12.0 degrees"),),
        flags=(Finding("soft_kernel", "the kernel is soft"),),
        quality=Quality(fwhm_mm=0.8, slice_mm=1.0 * factor, noise_hu=12.0 * factor, thinnest_plate_mm=0.5),
        volume_ml=80.0 * factor,
        inferred_share=0.08 * factor,
    )


class Peer:
    """A receiving Application Entity that counts what it gets, and may refuse a class or answer a status."""

    def __init__(self, port: int, *, refuse: str | None = None, statuses: Sequence[int] = ()) -> None:
        self.received: list[str] = []
        self._closed = False
        self._statuses = list(statuses)
        self._entity = AE(ae_title="PEER")
        self._entity.add_supported_context(Verification)
        for kind, sop_class in OBJECTS.items():
            if kind != refuse:
                self._entity.add_supported_context(sop_class)
        self._server = self._entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._take)]
        )

    def _take(self, event: Any) -> int:
        status = self._statuses.pop(0) if self._statuses else 0x0000
        if status == 0 or status >> 12 == 0xB:
            self.received.append(str(event.request.AffectedSOPInstanceUID))
        return status

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            assert self._server is not None
            self._server.shutdown()


class Proofs:
    """Answers of a destination that is asked what it holds: object by object, the last one for ever."""

    def __init__(self, *answers: Proof | Answer | Exception) -> None:
        self.asked: list[tuple[str, bool]] = []
        self._answers = answers

    def __call__(self, *_: object, transaction: str, last: bool) -> Answer:
        kind = transaction.split(".")[2]
        number = sum(name.split(".")[2] == kind for name, _ in self.asked)
        self.asked.append((transaction, last))
        answer = self._answers[min(number, len(self._answers) - 1)]
        if isinstance(answer, Exception):
            raise answer
        answer = answer if isinstance(answer, Answer) else Answer(answer)
        return replace(answer, proof="missing") if answer.proof == "waiting" and last else answer


def main(config_path: Path) -> None:
    """Work with the fake pipeline until killed or standard input ends: the worker process of the crash tests."""
    settings = load_config(config_path)
    log.configure(Log())
    spool = Spool(settings.spool.path, 0)
    lease = Lease(settings.spool.path, settings.queue.worker, wait_s=10)
    worker = Worker(settings, Steps(settings, spool, MODELS, fake_run))
    worker.start()
    lease.announce([])
    print("ready", flush=True)
    sys.stdin.read()
    drained = worker.drain(5)
    print("drained" if drained else "cut off", flush=True)
    os._exit(0)


__all__ = ["MODELS", "Peer", "Proofs", "config", "fake_run", "fill", "free_port", "result_object", "store_series"]

if __name__ == "__main__":
    main(Path(sys.argv[1]))
