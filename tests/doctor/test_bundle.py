"""A support bundle tells what helps, and nothing of a patient, a person or a secret."""

from __future__ import annotations

import json
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbnode.config import Config
from sbnode.doctor.privacy import LEFT_OUT, public_configuration, public_records
from tests.integration.peers import wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node
from tests.test_cli import sbnode

pytestmark = [*MORTAL]

STUDY = "1.2.826.0.1.3680043.8.498.77"
SECRETS = {
    "status": {
        "user": "doctor-jones",
        "password_file": "password",
        "monitor_user": "jones-monitor",
        "monitor_password_file": "other",
    },
    "queue": {"url": "postgresql+psycopg://jones@db.example.org:5432/queue", "password_file": "password"},
    "web_destinations": [
        {"name": "cloud", "url": "https://archive.example.org/tenant-jones/dicom-web", "token_file": "password"},
    ],
    "notify": {
        "link": "https://wiki.example.org/jones",
        "subject": "call Jones",
        "text": "call Jones\n",
        "webhook": {"url": "https://chat.example.org/hooks/jones"},
        "mail": {"host": "mail.example.org", "sender": "jones@example.org", "recipients": ["jones@example.org"]},
    },
    "rules": [
        {
            "name": "research",
            "when": {
                "PatientName": {"regex": "(?i)jones"},
                "ReferringPhysicianName": "Jones",
                "StudyDescription": {"regex": "trauma"},
                "SliceThickness": {"max": 1.5},
            },
            "priority": "high",
            "destinations": ["cloud"],
        }
    ],
}


def test_the_configuration_is_shown_without_secrets_and_persons() -> None:
    shown = public_configuration(Config.model_validate(SECRETS))
    text = json.dumps(shown)
    assert "jones" not in text.replace("tenant-jones", "").casefold()
    assert "tenant" not in text
    assert shown["queue"]["url"] == "postgresql+psycopg://db.example.org:5432"
    assert shown["web_destinations"][0]["url"] == "https://archive.example.org"
    assert shown["web_destinations"][0]["objects"] == ["seg", "stl", "sr", "preview"]
    assert shown["notify"]["mail"]["host"] == "mail.example.org"
    rule = shown["rules"][0]
    assert rule["when"] == {
        "PatientName": LEFT_OUT,
        "ReferringPhysicianName": LEFT_OUT,
        "StudyDescription": {"regex": "trauma"},
        "SliceThickness": {"max": 1.5},
    }
    assert (rule["priority"], rule["destinations"], rule["take"]) == ("high", ["cloud"], True)
    assert shown["receive"]["completion"]["idle_s"] == 60.0
    assert shown["execution"]["provider"] == "auto"


def test_of_a_log_only_the_node_s_own_records_are_kept() -> None:
    record = {"action": "job_failed", "level": "error", "timestamp": "2026-11-24T10:00:00Z", "reason": f"study {STUDY}"}
    kept, left_out = public_records([json.dumps(record), "Traceback: CANARY^PATIENT", '{"name": "CANARY"}', '"x"', ""])
    assert left_out == 4
    assert len(kept) == 1
    assert json.loads(kept[0])["action"] == "job_failed"
    assert STUDY not in kept[0]


def test_with_a_fault_in_the_configuration_machine_and_packages_are_told(tmp_path: Path) -> None:
    config, target = tmp_path / "config.yaml", tmp_path / "bundle.tar.gz"
    config.write_text("queue: {url: 'postgresql+psycopg://jones:secret@db/queue'}\n")
    code, text = sbnode("doctor", "--config", config, "--out", target)
    assert code == 2
    assert "must not hold a password" in text
    files = unpacked(target)
    assert files.keys() == {"about.txt", "machine.json", "installation.json"}
    assert json.loads(files["installation.json"])["packages"]["pydicom"]
    assert "jones" not in "".join(files.values())


@pytest.fixture
def node(tmp_path: Path, archive_port: int) -> Iterator[Node]:
    made = Node(tmp_path, archive_port, attempts=2)
    yield made
    made.close()


def unpacked(target: Path) -> dict[str, str]:
    """The files of a bundle."""
    with tarfile.open(target) as packed:
        return {
            member.name.partition("/")[2]: packed.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in packed.getmembers()
        }


def bundle(node: Node, name: str) -> tuple[str, dict[str, str]]:
    """What the doctor said, and the files of the bundle."""
    target = node.folder / f"{name}.tar.gz"
    said = node.command("doctor", "--out", str(target), "--log", str(node.folder / "node.log"))
    assert said.returncode in (0, 4), said.stdout + said.stderr
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    return said.stdout, unpacked(target)


def test_a_canary_that_went_through_the_node_is_in_no_bundle(node: Node, archive: Archive) -> None:
    """The pipeline fails with a message that quotes the patient; the results before that hold the name."""
    node.start()
    node.send(STUDY)
    wait_until(lambda: len(archive.received) == 2, START_S, "both objects at the archive")
    node.will("broken")
    node.send(f"{STUDY}.5")
    wait_until(lambda: any(item.state == "dead letter" for item in node.items()), START_S, "a dead letter")
    with (node.folder / "node.log").open("a") as log:
        log.write("a line of somebody else: CANARY^PATIENT\n")
    said, files = bundle(node, "running")
    check_secrecy(said, files)
    assert "it runs and is ready" in said
    assert "dead letters: 1 were given up" in said
    assert "sbnode_build_info" in files["metrics.txt"]
    roles = [process["role"] for process in json.loads(files["node.json"])["processes"]]
    assert roles == ["receiving", "worker"]
    records = [json.loads(line) for line in files["log.jsonl"].splitlines()]
    assert {"serving", "study_queued", "job_failed"} <= {record["action"] for record in records}
    queue = json.loads(files["queue.json"])
    assert queue["states"]["process: dead letter"] == 1
    assert "ValueError" in queue["given_up"][0]["reason"]

    content = yaml.safe_load(node.config.read_text())
    content["receive"]["calling_ae_titles"].append("CT2")
    content["node"]["ae_title"] = "OTHER"
    node.config.write_text(yaml.safe_dump(content))
    said, _ = bundle(node, "edited")
    assert "changed since the start: node.ae_title" in said
    assert "changed and not in force: receive.calling_ae_titles" in said

    node.kill_worker()
    node.terminate()
    said, files = bundle(node, "stopped")
    check_secrecy(said, files)
    assert "none runs on status.port" in said
    assert json.loads(files["queue.json"])["states"]["process: dead letter"] == 1
    assert json.loads(files["node.json"])["processes"] == []


def check_secrecy(said: str, files: dict[str, Any]) -> None:
    """Neither the patient, who is in the images, nor a UID."""
    for name, content in {"terminal": said, **files}.items():
        assert "CANARY" not in content, name
        assert STUDY not in content, name
        assert not re.search(r"(?<![\d.])1\.2\.826\.", content), name
