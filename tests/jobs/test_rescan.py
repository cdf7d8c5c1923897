"""A lost queue is made anew from the spool, and damaged files are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sbnode.cli import app
from sbnode.service import rescan
from sbnode.spool import Spool
from tests.jobs.conftest import Node, PeerFactory
from tests.jobs.fakes import Proofs, config, fill, free_port

NodeFactory = Callable[..., Node]

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_every_study_is_done_after_the_queue_was_lost(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    port = free_port()
    receiving = peer(port)
    settings = config(spool_path, port)
    spool = Spool(spool_path, 0)
    for study in ("1.2.3", "1.2.4"):
        fill(spool, study=study)
    first, second = rescan(settings, verify=True)
    assert first.instances == second.instances == 50
    assert not first.fault
    assert list(rescan(settings, verify=False)) == [first, second]
    running = node(settings)
    assert set(running.settle(8).values()) == {"done"}
    assert len(set(receiving.received)) == 4


@pytest.mark.parametrize(("verify", "damage"), [(True, "flip"), (False, "cut"), (True, "cut")])
def test_a_damaged_file_is_reported_and_its_study_left_alone(verify: bool, damage: str, spool_path: Path) -> None:
    settings = config(spool_path)
    spool = Spool(spool_path, 0)
    for study in ("1.2.3", "1.2.4"):
        fill(spool, study=study, slices=3)
    path = spool.series("1.2.3")[0].instances[0].path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-100])
    damaged, whole = rescan(settings, verify=verify)
    assert damaged.fault
    assert damaged.instances == 3
    assert whole.fault == ""


def test_the_command_line_lists_every_kind_of_item(node: NodeFactory, peer: PeerFactory, spool_path: Path) -> None:
    port = free_port()
    peer(port)
    settings = config(spool_path, port, confirm="query")
    running = node(settings, find_proof=Proofs("proven"))
    running.queue.submit(fill(running.spool))
    running.settle(6)
    file = spool_path.parent / "config.yaml"
    file.write_text(yaml.safe_dump({"spool": {"path": str(spool_path), "min_free_bytes": 0}}))
    told = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["jobs", "list", "--config", str(file)])
    assert told.exit_code == 0, told.output
    for kind in ("study", "job", "delivery", "proof"):
        assert kind in told.output
    told = CliRunner().invoke(app, ["jobs", "rescan", "--verify", "--config", str(file)])
    assert told.exit_code == 0, told.output
    assert "50 instances, queued, or known" in told.output
