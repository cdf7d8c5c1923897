from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sbnode.errors import ConfigError
from sbnode.jobs.lease import Lease, live_workers
from sbnode.metrics import ModelFacts

FACTS = (ModelFacts("skullbase", "1", "ab"),)
HOLDER = """
import sys; from pathlib import Path
from sbnode.jobs.lease import Lease
lease = Lease(Path(sys.argv[1]), "w"); lease.announce([]); print("held", flush=True); sys.stdin.read()
"""


def test_a_name_is_held_once_and_free_again_after_its_end(tmp_path: Path) -> None:
    first = Lease(tmp_path, "w")
    with pytest.raises(ConfigError, match=r"queue\.worker: another worker named 'w' is running"):
        Lease(tmp_path, "w")
    Lease(tmp_path, "other").close()
    first.close()
    Lease(tmp_path, "w").close()


def test_a_worker_counts_as_live_when_it_has_announced_itself(tmp_path: Path) -> None:
    assert live_workers(tmp_path) == {}
    lease = Lease(tmp_path, "w")
    assert live_workers(tmp_path) == {}
    lease.announce(FACTS)
    assert live_workers(tmp_path) == {"w": FACTS}
    lease.close()
    assert live_workers(tmp_path) == {}


def test_a_killed_worker_gives_its_name_back(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError):
            Lease(tmp_path, "w")
        holder.kill()
    started = time.monotonic()
    Lease(tmp_path, "w", wait_s=10).close()
    assert time.monotonic() - started < 5
