"""A node, Orthanc, and Prometheus with the shipped rules: what goes wrong raises its alert, and what is mended ends it.

The pipeline takes no time here (`fake_node`); all else is real. The tests build on each other, in this order.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pydicom
import pytest
import yaml
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from benchmarks.region import series_in
from sbnode.config import load_config
from sbnode.jobs.client import JobClient
from sbnode.jobs.dismissal import Reason
from sbnode.spool import Spool
from tests.integration.peers import HOST, Node, Orthanc, Postgres, free_port, http_status, program, wait_until
from tests.integration.prometheus import SHIPPED, Prometheus, panel_queries
from tests.jobs.fakes import OBJECTS
from tests.scp.certificates import Certificate, authority, issued
from tests.scp.instances import ct_slice, files

pytestmark = [
    pytest.mark.timeout(300),
    # Processes and connections die on purpose.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NODE = (sys.executable, "-m", "tests.integration.fake_node")
PATIENCE_S = 60
NOT_TRIED = {"SbnodeAuditDropped"}
"""It takes 10,000 records; tests/audit fills that memory, and promtool tests the rule."""


class Archive:
    """A destination that answers C-ECHO, C-STORE and C-FIND, and may forget what it accepted."""

    def __init__(self, port: int) -> None:
        self._port, self._server = port, None
        self.forgets = False
        self._held: list[tuple[str, str]] = []

    def start(self) -> None:
        entity = AE(ae_title="FORGETFUL")
        for sop_class in (Verification, StudyRootQueryRetrieveInformationModelFind, *OBJECTS.values()):
            entity.add_supported_context(sop_class)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self._server: Any = entity.start_server((HOST, self._port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
        self._server = None

    def _store(self, event: Any) -> int:
        self._held.append((event.dataset.SeriesInstanceUID, event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier.SeriesInstanceUID
        for series, instance in [] if self.forgets else list(self._held):
            if series == wanted:
                match = Dataset()
                match.QueryRetrieveLevel, match.SOPInstanceUID = "IMAGE", instance
                yield 0xFF00, match


@dataclass
class Ward:
    """Everything that runs, and the alerts that were seen."""

    node: Node
    orthanc: Orthanc
    prometheus: Prometheus
    archive: Archive
    database: Postgres
    certificate: Certificate
    authority: Certificate
    seen: set[str] = field(default_factory=set)
    studies: int = 0

    def comes(self, name: str, /, **labels: str) -> None:
        """Wait until an alert fires; its texts must be whole."""
        wait_until(lambda: self.prometheus.fires(name, **labels), PATIENCE_S, f"{name} fires", 0.3)
        for alert in self.prometheus.firing():
            assert "<error" not in str(alert["annotations"])
            assert "no value" not in str(alert["annotations"])
        self.seen.add(name)

    def goes(self, name: str) -> None:
        """Wait until no alert of this name fires."""
        wait_until(lambda: not self.prometheus.fires(name), PATIENCE_S, f"{name} is over", 0.3)

    def will(self, what: str, content: str = "") -> Path:
        """Tell the fake pipeline how to behave."""
        path = self.node.folder / what
        path.write_text(content)
        return path

    def send(self, count: int = 1) -> None:
        """Send studies of 20 slices by storescu."""
        for _ in range(count):
            self.studies += 1
            study = f"1.2.4.{self.studies}"
            folder = self.node.folder / study
            folder.mkdir()
            paths = files(folder, [ct_slice(n, study=study, series=f"{study}.1", z_mm=2.5 * n) for n in range(1, 21)])
            command = [program("storescu", "dcmtk"), "-aet", "STORESCU", "-aec", "SBNODE", HOST, str(self.node.port)]
            environment = {**os.environ, "TCP_NODELAY": "1"}
            subprocess.run([*command, *map(str, paths)], check=True, env=environment, timeout=60)

    def value(self, sample: str) -> float:
        return self.node.metrics().get(sample, 0.0)

    def done(self, jobs: float) -> None:
        """Wait until so many jobs are done and everything is delivered."""

        def idle() -> bool:
            numbers = self.node.metrics()
            depth = [value for name, value in numbers.items() if name.startswith("sbnode_queue_depth")]
            return numbers.get('sbnode_jobs_total{outcome="done"}', 0) >= jobs and bool(depth) and not any(depth)

        wait_until(idle, PATIENCE_S, f"{jobs:.0f} jobs are done", 0.3)

    def retry(self) -> None:
        """Start every dead letter again."""
        settings = load_config(self.node.folder / "config.yaml")
        queue = JobClient(settings, Spool(settings.spool.path, 0))
        try:
            for item in queue.dead_letters():
                queue.retry(item.id)
        finally:
            queue.close()

    def dismiss(self) -> None:
        """Put away every dead letter."""
        settings = load_config(self.node.folder / "config.yaml")
        queue = JobClient(settings, Spool(settings.spool.path, 0))
        try:
            assert queue.dismiss(queue.dead_letters(), Reason.TEST)
        finally:
            queue.close()

    def reload(self, **monitoring: float) -> None:
        """Have the node take another configuration."""
        self.node.settings["monitoring"] |= monitoring
        assert self.node.config.exists()
        assert self.node.process is not None
        self.node.process.popen.send_signal(signal.SIGHUP)

    def worker(self) -> int:
        """The process id of the worker."""
        assert self.node.process is not None
        found = [
            int(pid)
            for file in Path(f"/proc/{self.node.process.popen.pid}/task").glob("*/children")
            for pid in file.read_text().split()
        ]
        return found[0] if found else 0


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    program("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("ward")
    # PostgreSQL may run as another user, from whom pytest keeps its folders.
    open_folder = Path(tempfile.mkdtemp(prefix="sbnode-"))
    open_folder.chmod(0o755)
    database = Postgres.start(open_folder / "postgres")
    stops: list[Callable[[], object]] = [lambda: shutil.rmtree(open_folder), database.stop]
    try:
        signer = authority(folder)
        shown = issued(folder, "node", signer)
        archive = Archive(port := free_port())
        archive.start()
        stops.append(archive.stop)
        node = Node.configure(
            folder / "node",
            node={"tls_port": free_port(), "tls": {"certificate": str(shown.certificate), "key": str(shown.key)}},
            receive={"calling_ae_titles": ["ORTHANC", "STORESCU"], "completion": {"idle_s": 2, "study_settle_s": 0.5}},
            queue={"url": database.url("queue"), "attempts": 2},
            status={"host": HOST, "port": free_port()},
            monitoring={"destination_check_s": 1, "objective_s": 600},
        )
        node.command = NODE
        orthanc = Orthanc.start(folder / "orthanc", {"node": ("SBNODE", node.port)})
        stops.append(orthanc.process.stop)
        common = {"host": HOST, "timeout_s": 5}
        node.settings["destinations"] = [
            {"name": "orthanc", "ae_title": "ORTHANC", "port": orthanc.dicom_port, "objects": ["seg", "stl"], **common},
            {
                "name": "forgetful",
                "ae_title": "FORGETFUL",
                "port": port,
                "objects": ["seg"],
                "confirm": "query",
                "confirm_within_s": 1,
                **common,
            },
        ]
        stops.append(node.stop)
        node.start()
        prometheus = Prometheus.start(folder / "prometheus", node.status_url.removeprefix("http://"))
        stops.append(prometheus.process.stop)
        yield Ward(node, orthanc, prometheus, archive, database, shown, signer)
    finally:
        for stop in reversed(stops):
            stop()


def test_a_real_series_raises_no_alert_and_leaves_no_patient_in_the_metrics(ward: Ward, shared_data: Path) -> None:
    series = max(series_in(shared_data / "philips-phantom-tilted"), key=lambda one: len(one.instances))
    folder = ward.node.folder / "philips"
    folder.mkdir()
    for instance in series.instances:
        shutil.copy(instance.path, folder / instance.sop_instance_uid)
    ward.orthanc.send(ward.orthanc.upload(folder), "node")
    ward.done(1)
    wait_until(lambda: ward.value("sbnode_open_series") == 0, PATIENCE_S, "no series is open")
    # The certificate ends in 2 days. Hurried, seconds without a slice are long, and any growth of the disk is steep.
    expected = {"SbnodeCertificateExpiring", "SbnodeNothingReceived", "SbnodeDiskFilling"}
    time.sleep(3)
    assert {alert["labels"]["alertname"] for alert in ward.prometheus.firing()} <= expected
    with urlopen(f"{ward.node.status_url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    header = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
    assert header.StudyInstanceUID not in text
    assert not re.search(r"\d+(\.\d+){5,}", text)
    assert not header.PatientID or f'"{header.PatientID}"' not in text
    assert f'scanner="{header.ManufacturerModelName}"' in text
    assert 'sbnode_instances_received_total{calling_ae_title="ORTHANC",status="0x0000"}' in text


def test_a_real_series_that_can_not_be_used_is_counted_and_is_no_dead_letter(ward: Ward, shared_data: Path) -> None:
    ward.orthanc.send(ward.orthanc.upload(shared_data / "ge-hispeed-tilted"), "node")
    rejected = 'sbnode_series_rejected_total{reason="no_usable_series"}'
    wait_until(lambda: ward.value(rejected) == 1, PATIENCE_S, "it is rejected")
    assert not ward.prometheus.fires("SbnodeDeadLetters")


def test_nothing_received_and_a_certificate_near_its_end(ward: Ward) -> None:
    ward.comes("SbnodeCertificateExpiring", shown_to="node")
    renewed = issued(ward.node.folder, "renewed", ward.authority, ["-days", "60"])
    shutil.copy(renewed.key, ward.certificate.key)
    shutil.copy(renewed.certificate, ward.certificate.certificate)
    ward.comes("SbnodeNothingReceived")
    ward.send()
    ward.goes("SbnodeNothingReceived")
    ward.goes("SbnodeCertificateExpiring")


def test_a_job_that_takes_too_long(ward: Ward) -> None:
    slow = ward.will("slow", "8")
    ward.send()
    ward.comes("SbnodeJobTooOld", stage="inference")
    slow.unlink()
    ward.goes("SbnodeJobTooOld")


def test_a_dead_letter_until_it_is_tried_again(ward: Ward) -> None:
    broken = ward.will("broken")
    ward.send()
    ward.comes("SbnodeDeadLetters", stage="inference")
    assert ward.value('sbnode_job_failures_total{reason="unexpected"}') > 0
    broken.unlink()
    ward.retry()
    ward.goes("SbnodeDeadLetters")


def test_a_dead_letter_until_it_is_dismissed(ward: Ward) -> None:
    broken = ward.will("broken")
    ward.send()
    ward.comes("SbnodeDeadLetters", stage="inference")
    broken.unlink()
    ward.dismiss()
    ward.goes("SbnodeDeadLetters")
    assert ward.value('sbnode_dead_letters{destination="",stage="inference"}') == 0


def test_a_destination_that_is_down(ward: Ward) -> None:
    ward.archive.stop()
    ward.comes("SbnodeDestinationDown", destination="forgetful")
    assert not ward.prometheus.fires("SbnodeDestinationDown", destination="orthanc")
    ward.archive.start()
    ward.goes("SbnodeDestinationDown")


def test_a_destination_that_does_not_hold_what_it_accepted(ward: Ward) -> None:
    ward.archive.forgets = True
    ward.send()
    ward.comes("SbnodeCommitmentMissing", destination="forgetful")
    ward.archive.forgets = False
    ward.goes("SbnodeCommitmentMissing")


def test_scans_and_results_that_are_not_what_they_were(ward: Ward) -> None:
    drift = ward.will("drift")
    ward.send()
    ward.comes("SbnodeInputDrift", scanner="other")
    ward.comes("SbnodeResultDrift", scanner="other")
    drift.unlink()
    ward.goes("SbnodeInputDrift")
    ward.goes("SbnodeResultDrift")


def test_a_configuration_that_was_changed_and_results_that_come_too_late(ward: Ward) -> None:
    ward.reload(objective_s=0.001)
    ward.comes("SbnodeConfigurationChanged")
    wait_until(lambda: ward.value("sbnode_objective_seconds") == 0.001, PATIENCE_S, "the objective is the new one")
    ward.send(2)
    ward.comes("SbnodeErrorBudgetBurn")
    ward.comes("SbnodeErrorBudgetSlowBurn")
    ward.reload(objective_s=600)
    ward.goes("SbnodeErrorBudgetBurn")
    ward.goes("SbnodeErrorBudgetSlowBurn")
    ward.goes("SbnodeConfigurationChanged")


def test_a_worker_that_dies_and_comes_back_with_another_model(ward: Ward) -> None:
    ward.will("other-model")
    for _ in range(2):
        before = ward.value("sbnode_worker_starts_total")
        with suppress(ProcessLookupError):
            os.kill(ward.worker(), signal.SIGKILL)
        ward.comes("SbnodeWorkerDown")
        wait_until(lambda b=before: ward.value("sbnode_worker_starts_total") > b, PATIENCE_S, "it is started again")  # type: ignore[misc]
    ward.comes("SbnodeWorkerRestarts")
    ward.goes("SbnodeWorkerDown")
    ward.comes("SbnodeModelChanged", name="skullbase")
    ward.goes("SbnodeWorkerRestarts")
    assert ward.value('sbnode_jobs_total{outcome="done"}') > 0, "what the dead have counted stays"


def test_every_panel_of_the_dashboard_has_data(ward: Ward) -> None:
    ward.send()
    for title, query in panel_queries():
        wait_until(lambda q=query: ward.prometheus.query(q), PATIENCE_S, f"{title} has data")  # type: ignore[misc]


def test_a_database_that_is_down(ward: Ward) -> None:
    ward.database.stop()
    ward.comes("SbnodeQueueDown")
    wait_until(lambda: ward.prometheus.query("sbnode_disk_free_bytes"), PATIENCE_S, "all else is there")
    assert not ward.prometheus.fires("SbnodeDown")
    ward.database.start_again()
    ward.goes("SbnodeQueueDown")
    ward.goes("SbnodeWorkerDown")


def test_a_node_that_is_down_and_comes_back_with_too_little_space(ward: Ward) -> None:
    ward.node.stop()
    ward.comes("SbnodeDown")
    free = shutil.disk_usage(ward.node.folder).free
    ward.node.settings["spool"]["min_free_bytes"] = 2 * free
    command = [*NODE, "serve", "--config", str(ward.node.config)]
    with (ward.node.folder / "full.log").open("wb") as log:
        full = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        wait_until(lambda: http_status(f"{ward.node.status_url}/healthz") == 200, PATIENCE_S, "the node answers")
        ward.goes("SbnodeDown")
        ward.comes("SbnodeDiskFull")
        ward.comes("SbnodeDiskFilling")
    finally:
        full.terminate()
        full.wait(60)
    ward.node.settings["spool"]["min_free_bytes"] = 0
    ward.node.start()
    for name in ("SbnodeDown", "SbnodeDiskFull", "SbnodeModelChanged"):
        ward.goes(name)


def test_every_alert_that_is_shipped_was_seen(ward: Ward) -> None:
    shipped = yaml.safe_load(SHIPPED.read_text("utf-8"))
    names = {rule["alert"] for group in shipped["groups"] for rule in group["rules"] if "alert" in rule}
    assert ward.seen == names - NOT_TRIED
