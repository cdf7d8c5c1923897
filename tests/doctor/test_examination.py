"""What is wrong is found, and what to do is said."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from sbnode import __version__
from sbnode.config import Config, Tls
from sbnode.doctor import examination
from sbnode.doctor.backlog import Backlog, examine_backlog
from sbnode.doctor.disk import Disk, examine_disk, read_disk
from sbnode.doctor.examination import examine
from sbnode.doctor.machine import Machine, examine_machine, read_machine
from sbnode.doctor.node import RunningNode, examine_node
from sbnode.doctor.observation import Observation
from sbnode.doctor.processes import NodeProcess, examine_processes, find_processes
from tests.integration.peers import free_port
from tests.scp.certificates import authority
from tests.test_cli import sbnode

GOOD = Machine(
    system="Linux",
    distribution="Debian",
    python="3.12.1",
    processor="any",
    cores=4,
    usable_cores=4,
    memory_bytes=16_000_000_000,
    available_bytes=8_000_000_000,
    limit_bytes=None,
    container=None,
    open_files=(4096, 8192),
    user=1000,
    time_zone="CET +0100",
    utc="2026-11-24T10:00:00+00:00",
    clock_synchronised=True,
    temporary_folder="/tmp",
)
ROOMY = Disk(
    file_system="ext4",
    mount_point="/",
    total_bytes=100_000_000_000,
    free_bytes=50_000_000_000,
    total_files=1000,
    free_files=900,
    owner=1000,
    newest_ahead_s=0.0,
)


def wrong(observations: Iterable[Observation]) -> list[tuple[str, str]]:
    """Level and name of what isn't well; each such observation says what to do."""
    found = list(observations)
    assert all(observation.remedy or observation.is_configuration for observation in found if observation.level != "ok")
    return [(observation.level, observation.name) for observation in found if observation.level != "ok"]


def test_a_good_machine_has_nothing_wrong() -> None:
    assert wrong(examine_machine(GOOD)) == []
    assert wrong(examine_disk(Config(), ROOMY)) == []


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (replace(GOOD, memory_bytes=2_000_000_000), ("warn", "memory")),
        (replace(GOOD, limit_bytes=1_000_000_000), ("warn", "memory")),
        (replace(GOOD, open_files=(256, 4096)), ("warn", "open files")),
        (replace(GOOD, clock_synchronised=False), ("warn", "clock")),
        (replace(GOOD, temporary_folder=None), ("fail", "temporary folder")),
    ],
)
def test_what_is_wrong_with_a_machine_is_said(machine: Machine, expected: tuple[str, str]) -> None:
    assert wrong(examine_machine(machine)) == [expected]


@pytest.mark.parametrize(
    ("disk", "url", "expected"),
    [
        (replace(ROOMY, free_bytes=1_000_000_000), None, ("fail", "spool space")),
        (replace(ROOMY, free_bytes=3_000_000_000), None, ("warn", "spool space")),
        (replace(ROOMY, file_system="nfs4"), None, ("fail", "spool device")),
        (replace(ROOMY, file_system="nfs4"), "postgresql+psycopg://h/d", ("warn", "spool device")),
        (replace(ROOMY, file_system="overlay"), None, ("fail", "spool device")),
        (replace(ROOMY, file_system="tmpfs"), None, ("fail", "spool device")),
        (replace(ROOMY, free_files=10), None, ("warn", "spool files")),
        (replace(ROOMY, newest_ahead_s=3600.0), None, ("warn", "spool times")),
    ],
)
def test_what_is_wrong_with_a_disk_is_said(disk: Disk, url: str | None, expected: tuple[str, str]) -> None:
    assert wrong(examine_disk(Config(queue={"url": url}), disk)) == [expected]


def test_facts_of_a_container_are_read(tmp_path: Path) -> None:
    for name, content in {
        "proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU\n",
        "sys/fs/cgroup/memory.max": "3000000000\n",
        "etc/os-release": 'NAME=x\nPRETTY_NAME="Debian 12"\n',
        ".dockerenv": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    machine = read_machine(tmp_path)
    assert (machine.memory_bytes, machine.available_bytes) == (16_384_000_000, 8_192_000_000)
    assert (machine.limit_bytes, machine.processor) == (3_000_000_000, "Some CPU")
    assert (machine.distribution, machine.container) == ("Debian 12", "docker")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert read_machine(tmp_path).limit_bytes is None


def test_the_file_system_of_the_spool_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    spool = tmp_path / "a b" / "spool"
    spool.mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    escaped = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:1 / {escaped} rw - overlay overlay rw\n"
        f"3 1 0:2 / {escaped} rw shared:1 - nfs4 server:/x rw\n"
        f"4 1 0:3 / {escaped}c rw - tmpfs tmpfs rw\n"
    )
    found = read_disk(spool, mounts)
    assert found is not None
    assert (found.file_system, found.mount_point) == ("nfs4", str(tmp_path / "a b"))
    assert read_disk(tmp_path / "missing", mounts) is None


def test_the_processes_of_this_spool_are_found_and_no_others(tmp_path: Path) -> None:
    config = Config(spool={"path": tmp_path / "spool"})
    in_force = str(config.spool.path.resolve() / "workers" / "config.yaml")

    def process(pid: int, parent: int, *arguments: str) -> None:
        folder = tmp_path / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fd" / "0").touch()
        (folder / "cmdline").write_bytes(b"".join(part.encode() + b"\0" for part in arguments))
        (folder / "status").write_text(f"PPid:\t{parent}\nVmHWM:\t    1000 kB\nVmRSS:\t 500 kB\nThreads:\t3\n")
        (folder / "limits").write_text("Max open files            1                 4096                 files\n")

    process(10, 1, "python", "sbnode", "serve", "--config", "any.yaml")
    process(11, 10, "python", "-m", "sbnode.cli", "work", "--supervised", "--config", in_force)
    process(12, 10, "python", "-m", "sbnode.cli", "work", "--adopt", "x", "--config", in_force)
    process(13, 1, "python", "-m", "sbnode.cli", "work", "--supervised", "--config", "/other/workers/config.yaml")
    found = find_processes(config, tmp_path / "proc")
    assert [(one.role, one.pid) for one in found] == [("receiving", 10), ("worker", 11)]
    expected = NodeProcess(
        role="receiving",
        pid=10,
        resident_bytes=512_000,
        peak_bytes=1_024_000,
        threads=3,
        open_files=1,
        open_files_limit=1,
    )
    assert found[0] == expected
    assert wrong(examine_processes(found)) == [("warn", "receiving process"), ("warn", "worker process")]


def test_what_waits_for_long_and_what_was_given_up_is_said() -> None:
    assert wrong(examine_backlog(Backlog({"inference": 1}, {"inference": 10.0}, {"study: done": 3}, ()))) == []
    bad = Backlog({"delivery.pacs": 2}, {"delivery.pacs": 7200.0}, {"deliver: dead letter": 1}, ())
    assert wrong(examine_backlog(bad)) == [("warn", "queue delivery.pacs"), ("warn", "dead letters")]


def test_certificates_that_end_or_can_t_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = authority(tmp_path)
    certificate, key = shown.certificate, shown.key  # for two days
    config = Config(
        node={"tls_port": free_port(), "port": free_port(), "tls": Tls(certificate=certificate, key=key)},
        status={"port": free_port()},
        spool={"path": tmp_path / "spool"},
        destinations=[
            {
                "name": "pacs",
                "ae_title": "PACS",
                "host": "127.0.0.1",
                "port": free_port(),
                "timeout_s": 1,
                "tls": {"certificate": tmp_path / "no.pem", "key": key},
            }
        ],
    )
    told: list[Observation] = []
    found = examine(config, told.append)
    assert tuple(told) == found.observations
    assert not (tmp_path / "spool").exists()
    said = wrong(found.observations)
    for expected in (
        ("warn", "spool"),
        ("warn", "certificate of node"),
        ("fail", "certificate of destination.pacs"),
        ("fail", "destination 'pacs' answers C-ECHO"),
    ):
        assert expected in said
    monkeypatch.setattr(examination, "not_after_s", lambda path: 0.0)
    assert ("fail", "certificate of node") in wrong(examine(config).observations)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_spool_of_another_user_is_left_alone(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    os.chown(spool, 10001, 10001)
    found = examine(Config(node={"port": free_port()}, status={"port": free_port()}, spool={"path": spool}))
    assert list(spool.iterdir()) == []
    assert ("warn", "spool") in wrong(found.observations)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_volume_of_root_is_its_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes makes it for fsGroup: root:10001, mode 2775."""
    spool = tmp_path / "spool"
    spool.mkdir()
    os.chown(spool, 0, 10001)
    spool.chmod(0o2775)
    config = Config(node={"port": free_port()}, status={"port": free_port()}, spool={"path": spool})
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    before = examine(config)
    assert ("warn", "spool") not in wrong(before.observations)
    assert before.backlog is not None, "the queue was looked at"
    for path in (spool / "incoming", spool / "queue.sqlite"):
        os.chown(path, 10001, 10001)
    after = examine(config)
    assert after.disk is not None
    assert after.disk.owner == 10001
    assert ("warn", "spool") not in wrong(after.observations)
    assert after.backlog is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_nobody_is_told_to_look_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "incoming").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    found = examine(Config(node={"port": free_port()}, status={"port": free_port()}, spool={"path": tmp_path}))
    (said,) = (observation for observation in found.observations if observation.name == "spool")
    assert (said.level, found.backlog) == ("warn", None)
    assert "belongs to user 0" in said.seen
    assert "sudo" not in said.remedy


def test_a_version_that_still_runs_after_an_upgrade_is_said(tmp_path: Path) -> None:
    config = Config(node={"port": free_port()}, status={"port": free_port()}, spool={"path": tmp_path})
    for version, expected in (("0.0.1", True), (__version__, False)):
        running = RunningNode({"dicom": "ok"}, f'# HELP x\nsbnode_build_info{{version="{version}"}} 1.0\n')
        assert (("warn", "version") in wrong(examine_node(config, running))) is expected


def test_a_log_without_a_bundle_is_a_mistake() -> None:
    code, text = sbnode("doctor", "--log", "any.log")
    assert code == 2
    assert "--out" in text
