"""As in a container that may do little: the root is read-only, no capability, no new privileges. A mount namespace
shows, without a container runtime, that spool and temporary folder are all that is written to.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, unavailable
from tests.integration.peers import listens, program, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node

pytestmark = [*MORTAL]


def locked_down(writable: list[Path], command: list[str]) -> list[str]:
    """``command`` where only ``writable`` can be written; each is a mount of its own, as a volume is."""
    unshare, setpriv = program("unshare", "util-linux"), program("setpriv", "util-linux")
    if os.geteuid() != 0:
        unavailable("a mount namespace needs root")
    steps = [f"mount --bind {folder} {folder}" for folder in map(shlex.quote, map(str, writable))]
    steps.append("mount -o remount,bind,ro /")
    # What is mounted elsewhere, as some machines do with /tmp, is read-only too.
    steps += [f"mountpoint -q {place} && mount -o remount,bind,ro {place}; :" for place in ("/tmp", "/var", "/home")]
    powerless = [setpriv, "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all"]
    steps.append(f"exec {shlex.join([*powerless, *command])}")
    return [unshare, "--mount", "--propagation", "private", "sh", "-ec", "\n".join(steps)]


def environment(tmp: Path) -> dict[str, str]:
    """As the Dockerfile sets it."""
    return {**os.environ, "HOME": str(tmp), "TMPDIR": str(tmp), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Spool and temporary folder."""
    spool, tmp = tmp_path / "spool", tmp_path / "tmp"
    spool.mkdir()
    tmp.mkdir()
    return spool, tmp


@pytest.fixture
def node(tmp_path: Path, folders: tuple[Path, Path], archive_port: int) -> Iterator[Node]:
    made = Node(tmp_path, archive_port)
    # What the fake pipeline notes beside the spool.
    (tmp_path / "runs").touch()
    command = [sys.executable, "-m", "tests.integration.fake_node", "serve", "--config", str(made.config)]
    with (tmp_path / "node.log").open("wb") as log:
        process = subprocess.Popen(
            locked_down([*folders, tmp_path / "runs"], command),
            cwd=REPOSITORY,
            env=environment(folders[1]),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    made.adopt(process)
    yield made
    made.close()


def test_a_node_receives_and_sends(node: Node, archive: Archive) -> None:
    wait_until(lambda: listens(node.port) or node.is_over(), START_S, "the node listens")
    assert not node.is_over(), node.log()
    node.send()
    wait_until(lambda: len(archive.received) == 2, START_S, "both objects at the archive")
    status = Path(f"/proc/{node.pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert node.terminate() == 0
    assert "error" not in {json.loads(line)["level"] for line in node.log().splitlines()}


def test_elsewhere_nothing_can_be_written(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    """So that the other tests see what they claim to see."""
    for place, code in ((tmp_path, 1), (folders[0], 0), (folders[1], 0)):
        finished = subprocess.run(
            locked_down([*folders], ["sh", "-c", f"touch {place}/file || exit 1"]), capture_output=True, check=False
        )
        assert finished.returncode == code, finished.stderr


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_the_real_pipeline_writes_nowhere_else(tmp_path: Path, folders: tuple[Path, Path], shared_data: Path) -> None:
    command = [sys.executable, "-m", "sbnode.cli", "run", str(shared_data / "siemens-headneck-contrast")]
    finished = subprocess.run(
        locked_down([*folders], [*command, "--out", str(folders[0] / "out")]),
        cwd=REPOSITORY,
        env=environment(folders[1]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert (folders[0] / "out" / "seg.dcm").exists()
