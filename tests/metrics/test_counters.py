"""What is counted: that processes share it, that the dead leave nothing behind, and that labels are bounded."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from sbnode import errors, metrics
from sbnode.config import ResultObject
from sbnode.inference.model import PROVIDERS
from sbnode.metrics import CATALOGUE, STATES, ScannerNames
from sbnode.metrics.scanners import MOST
from sbnode.metrics.shared import SharedCounters
from sbnode.scp.completion import Reason
from sbnode.scp.observer import AssociationOutcome
from sbnode.scu.send import Meaning
from scripts import metrics_manual
from tests.conftest import REPOSITORY
from tests.metrics.states import STATE

COUNT = "from sbnode import metrics; metrics.SERIES_COMPLETED.labels('idle').inc({})"
TIME = "from sbnode import metrics; metrics.END_TO_END.observe(7)"
READ = "from prometheus_client import generate_latest; from sbnode import metrics; "
SCRAPE = READ + "print(generate_latest(metrics.registry()).decode())"


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}


def python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(folder),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def living(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has counted 3 and goes on living."""
    code = COUNT.format(3) + "; print('counted', flush=True); import time; time.sleep(600)"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, env=environment(tmp_path), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "counted\n"
        yield process
        process.kill()


def test_processes_share_their_counters_and_what_the_dead_counted_stays(tmp_path: Path) -> None:
    for number in (2, 3):
        python(COUNT.format(number), tmp_path)
    python(TIME, tmp_path)
    for _ in range(2):
        text = python(SCRAPE, tmp_path)
        assert 'sbnode_series_completed_total{reason="idle"} 5.0' in text
        assert 'sbnode_end_to_end_duration_seconds_bucket{le="10.0"} 1.0' in text
        assert "sbnode_end_to_end_duration_seconds_sum 7.0" in text


def test_the_sums_are_those_of_the_client_library(tmp_path: Path) -> None:
    work = "metrics.STAGE_DURATION.labels('read').observe({0}); metrics.JOBS.labels('done').inc({0})"
    for number in (2, 40, 1e6):
        python(f"from sbnode import metrics; {work.format(number)}; metrics.END_TO_END.observe({number})", tmp_path)
    expected = CollectorRegistry()
    MultiProcessCollector(expected, path=str(tmp_path))  # type: ignore[no-untyped-call]
    found = CollectorRegistry()
    found.register(SharedCounters(tmp_path))

    def samples(registry: CollectorRegistry) -> dict[str, dict[tuple[str, str], float]]:
        return {
            family.name: {(s.name, str(sorted(s.labels.items()))): s.value for s in family.samples}
            for family in registry.collect()
        }

    assert samples(found) == samples(expected)
    assert {"sbnode_jobs", "sbnode_stage_duration_seconds"} <= set(samples(found))


def test_a_worker_that_dies_again_and_again_leaves_no_files_behind(tmp_path: Path) -> None:
    for _ in range(3):
        python(COUNT.format(1), tmp_path)
        python(SCRAPE, tmp_path)
    python(SCRAPE, tmp_path)
    left = {path.name for path in tmp_path.iterdir() if "dead" not in path.name}
    last = {name.rpartition("_")[2].partition(".")[0] for name in left}
    assert len(last) == 1, left  # the one that asked last
    assert {path.name for path in tmp_path.glob("*dead*")} == {"counter_dead.db", "histogram_dead.db"}


def test_who_lives_is_not_added_up(tmp_path: Path, living: subprocess.Popen[str]) -> None:
    python(COUNT.format(2), tmp_path)
    for _ in range(2):
        assert 'sbnode_series_completed_total{reason="idle"} 5.0' in python(SCRAPE, tmp_path)
    living.send_signal(signal.SIGKILL)
    living.wait(10)
    assert 'sbnode_series_completed_total{reason="idle"} 5.0' in python(SCRAPE, tmp_path)


def test_a_start_forgets_the_dead_and_no_other(tmp_path: Path, living: subprocess.Popen[str]) -> None:
    python(COUNT.format(2), tmp_path)
    python(SCRAPE, tmp_path)
    (tmp_path / "counter_17.db").write_bytes(b"")  # as an earlier release named it
    after = python("from sbnode import metrics; metrics.forget_dead_processes(); " + SCRAPE, tmp_path)
    assert 'sbnode_series_completed_total{reason="idle"} 3.0' in after
    assert not (tmp_path / "counter_17.db").exists()
    assert living.poll() is None


@pytest.mark.parametrize("content", [b"", b"\x01\x02\x03", bytes(1 << 16)])
def test_a_file_that_was_only_just_being_made_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    python(COUNT.format(2), tmp_path)
    for name in ("counter_1-dead1.db", "histogram_1-dead1.db", "counter_dead.db"):
        (tmp_path / name).write_bytes(content)
    for _ in range(2):
        text = python(SCRAPE, tmp_path)
        assert 'sbnode_series_completed_total{reason="idle"} 2.0' in text
        assert "counters_unreadable" not in text
    assert not list(tmp_path.glob("*1-dead1*"))


BROKEN = {
    "too short": struct.pack("<ii", 5000, 0) + bytes(8),
    "a length beyond the end": struct.pack("<iii", 64, 0, 1000) + bytes(52),
    "a negative length": struct.pack("<iii", 64, 0, -24) + bytes(52),
    "no key": struct.pack("<iii4s8sdd", 40, 0, 4, b"\xff{\xff{", b"        ", 1.0, 0.0),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_can_not_be_read_is_set_aside_until_the_next_start(tmp_path: Path, content: bytes) -> None:
    python(COUNT.format(2), tmp_path)
    (tmp_path / "counter_1-dead1.db").write_bytes(content)
    (tmp_path / "histogram_dead.db").write_bytes(content)
    python(TIME, tmp_path)
    for _ in range(2):
        text = python(SCRAPE, tmp_path)
        assert 'sbnode_series_completed_total{reason="idle"} 2.0' in text
        assert "sbnode_end_to_end_duration_seconds_sum 7.0" in text
    aside = {path.name for path in tmp_path.glob("*.unreadable")}
    assert aside == {"counter_1-dead1.db.unreadable", "histogram_dead.db.unreadable"}
    python("from sbnode import metrics; metrics.forget_dead_processes()", tmp_path)
    assert not list(tmp_path.glob("*.unreadable"))


def test_a_living_process_whose_file_can_not_be_read_spoils_no_scrape(
    tmp_path: Path, living: subprocess.Popen[str]
) -> None:
    python(COUNT.format(2), tmp_path)
    (file,) = (path for path in tmp_path.glob("counter_*.db") if path.name.startswith(f"counter_{living.pid}-"))
    with file.open("r+b") as opened:
        opened.write(BROKEN["no key"])
    for _ in range(2):
        assert 'sbnode_series_completed_total{reason="idle"} 2.0' in python(SCRAPE, tmp_path)
    assert file.with_name(f"{file.name}.unreadable").exists()


def test_a_process_that_can_make_no_file_keeps_its_counts_to_itself(tmp_path: Path) -> None:
    counted = "; print(*(sample.value for sample in metrics.SERIES_COMPLETED.family.collect()[0].samples))"
    said = python(COUNT.format(2) + counted, tmp_path / "nowhere").splitlines()
    assert said[-1].startswith("2.0")
    assert "counters_not_kept" in said[0]


def test_the_manual_is_what_the_code_says() -> None:
    written = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert written == metrics_manual.text(), "make metrics"


def test_everything_that_is_exported_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command that ran in this process earlier may have set the folder that processes share.
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    text = generate_latest(metrics.registry(STATE)).decode()
    exported = {
        name for name in re.findall(r"^# TYPE (sbnode_\w+)", text, re.MULTILINE) if not name.endswith("_created")
    }
    described = {described.name for described in CATALOGUE} | set(STATES)
    assert exported == described
    units = ("_total", "_seconds", "_bytes", "_meters", "_hounsfield", "_liters", "_ratio", "_info")
    states = ("_up", "_depth", "_letters", "_series")
    assert {name for name in described if not name.endswith((*units, *states))} == set()


def closed(metric: str, label: str) -> set[str]:
    (described,) = [one for one in CATALOGUE if one.name == metric]
    (found,) = [one for one in described.labels if one.name == label]
    return set(found.values)


def test_the_closed_sets_are_those_of_the_code() -> None:
    assert closed("sbnode_associations_total", "outcome") == {*get_args(AssociationOutcome), "oversized"}
    assert closed("sbnode_series_completed_total", "reason") == set(get_args(Reason))
    assert closed("sbnode_series_rejected_total", "reason") == {one.code for one in errors.SeriesError.__subclasses__()}
    assert closed("sbnode_deliveries_total", "object") == set(get_args(ResultObject))
    assert closed("sbnode_inference_duration_seconds", "provider") == set(PROVIDERS)
    assert {metrics.provider_name(name) for name in PROVIDERS.values()} == set(PROVIDERS)
    assert {meaning.value for meaning in Meaning if meaning.value != "retry"} <= closed(
        "sbnode_deliveries_total", "status"
    ) | {"unavailable"}
    statuses = {f"0x{one.dimse_status:04X}" for one in (errors.ReceiveError, *errors.ReceiveError.__subclasses__())}
    assert statuses <= closed("sbnode_instances_received_total", "status")


def test_findings_flags_and_stages_are_those_of_the_code() -> None:
    inference = REPOSITORY / "sbnode" / "inference"
    in_flags = set(re.findall(r'Finding\(\s*"(\w+)"', (inference / "quality.py").read_text("utf-8")))
    others = [path.read_text("utf-8") for path in inference.glob("*.py") if path.name != "quality.py"]
    assert closed("sbnode_result_flags_total", "kind") == in_flags
    assert closed("sbnode_geometry_findings_total", "kind") == set(re.findall(r'Finding\(\s*"(\w+)"', "".join(others)))
    pipeline = (REPOSITORY / "sbnode" / "pipeline.py").read_text("utf-8")
    stages = set(re.findall(r'clock\.stage\("(\w+)"\)', pipeline)) - {"fine"}  # of `sbnode run` alone
    assert closed("sbnode_stage_duration_seconds", "stage") == {*stages, "deliver"}


def test_what_is_not_known_is_other() -> None:
    before = value("sbnode_series_completed_total", reason="other")
    metrics.SERIES_COMPLETED.labels("1.2.840.113619.2.55").inc()
    assert value("sbnode_series_completed_total", reason="other") == before + 1
    assert metrics.bounded("STRANGER", {"CT1": 1}) == "other"
    assert metrics.failure_reason(ValueError("CANARY^PATIENT")) == "unexpected"
    assert metrics.failure_reason(errors.ModelError("the network failed")) == "model"


def value(name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in metrics.SERIES_COMPLETED.family.collect()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found[0] if found else 0.0


def test_the_first_scanner_models_have_names_and_a_restart_adds_none(tmp_path: Path) -> None:
    file = tmp_path / "scanners.json"
    names = ScannerNames(file)
    assert names.take("  Sensation 64\n") == "Sensation 64"
    assert names.take('x"}{\\' + "y" * 50) == "x" + "y" * 31
    assert names.take("") == "other"
    for number in range(MOST + 5):
        names.take(f"model {number}")
    again = ScannerNames(file)
    assert again.take("Sensation 64") == "Sensation 64"
    assert again.take("yet another") == "other"
    assert again.take(f"model {MOST + 1}") == "other"


def test_names_of_scanners_that_can_not_be_kept_hold_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "scanners.json").write_text("{not json")
    names = ScannerNames(tmp_path / "scanners.json")
    assert names.take("LightSpeed") == "LightSpeed"
    assert ScannerNames(tmp_path / "nowhere" / "scanners.json").take("LightSpeed") == "LightSpeed"
