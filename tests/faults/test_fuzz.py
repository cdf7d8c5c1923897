"""A minute of fuzzing, with another seed for each day; `make fuzz` does more."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.faults.fuzz import Outcome, case, fuzz_in_process, fuzz_over_sockets
from tests.faults.receiving import receiving

SECONDS = 30.0
SEED = date.today().toordinal()


def test_a_case_is_always_the_same() -> None:
    first, again, other = (case(7, number).association() for number in (11, 11, 12))
    assert first == again != other


def test_what_comes_in_process_gets_its_status() -> None:
    outcome = Outcome()
    done = fuzz_in_process(SEED, 10**9, SECONDS, outcome)
    print(f"seed {SEED}: {done} cases, {done / SECONDS:.0f} per second: {dict(outcome.counts)}")
    outcome.require_none()
    assert done > 2_000
    assert outcome.counts["0xC000"] > done / 20
    assert outcome.counts["0x0000"] > done / 20


@pytest.mark.timeout(240)
def test_what_comes_over_sockets_is_answered_or_cut_off_and_the_node_lives(tmp_path: Path) -> None:
    outcome = Outcome()
    with receiving(tmp_path / "node", receive={"network_timeout_s": 2}) as node:
        done = fuzz_over_sockets(node, SEED, 10**9, SECONDS, outcome)
        print(f"seed {SEED}: {done} cases: {dict(outcome.counts)}; {node.vitals}")
    outcome.require_none()
    assert done >= 200
    assert outcome.counts["0x0000"] > 50
