"""Whether a destination holds what it accepted: the rules, with fakes for the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sbnode.config import Destination, WebDestination
from sbnode.errors import DestinationRefused, DestinationUnavailable, SpoolError
from sbnode.jobs.proof import Sent, find_proof
from sbnode.scu import archive, commitment, stow
from sbnode.series import SeriesKey
from sbnode.spool import Commitments, Report
from tests.jobs.fakes import result_object

SENT = Sent(SeriesKey("1.2", "1.3"), (("1.2.840.10008.5.1.4.1.1.7", "1.4"), ("1.2.840.10008.5.1.4.1.1.7", "1.5")))
ALL, SOME = frozenset({"1.4", "1.5", "1.6"}), frozenset({"1.4"})


def destination(confirm: str) -> Destination:
    return Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, confirm=confirm)  # type: ignore[arg-type]


def prove(where: Destination | WebDestination, folder: Path, *, last: bool = False) -> str:
    return find_proof(SENT, where, "SBNODE", Commitments(folder), transaction="job.pacs.preview.1", last=last)


def answers(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, answer: object) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def call(*arguments: Any) -> object:
        calls.append(arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer(*arguments) if callable(answer) else answer

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.mark.parametrize(("held", "proof"), [(ALL, "proven"), (SOME, "missing"), (frozenset(), "missing")])
def test_a_query_proves_when_every_instance_is_listed_and_waits_until_then(
    held: frozenset[str], proof: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers(monkeypatch, archive, "held", held)
    answers(monkeypatch, stow, "held", held)
    for where in (destination("query"), WebDestination(name="web", url="http://127.0.0.1:1", confirm="query")):
        assert prove(where, tmp_path, last=True) == proof
        assert prove(where, tmp_path) == ("proven" if proof == "proven" else "waiting")


def test_a_commitment_is_asked_once_and_its_report_awaited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = answers(monkeypatch, commitment, "request", None)
    assert [prove(destination("commitment"), tmp_path) for _ in range(3)] == ["waiting"] * 3
    assert len(asked) == 1
    uid = asked[0][1]
    Commitments(tmp_path).report(Report(uid, ("1.4", "1.5"), ()))
    assert prove(destination("commitment"), tmp_path) == "proven"
    assert not Commitments(tmp_path).asked(uid)


def test_a_report_with_failures_or_gaps_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers(monkeypatch, commitment, "request", lambda _, uid, *__: Report(uid, ("1.4",), ("1.5",)))
    assert prove(destination("commitment"), tmp_path) == "missing"


def test_no_report_or_no_commitment_at_all_falls_back_to_a_query(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers(monkeypatch, archive, "held", ALL)
    answers(monkeypatch, commitment, "request", None)
    assert prove(destination("commitment"), tmp_path) == "waiting"
    assert prove(destination("commitment"), tmp_path, last=True) == "proven"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    answers(monkeypatch, commitment, "request", DestinationRefused("no"))
    assert prove(destination("commitment"), tmp_path / "other") == "proven"
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


def test_a_report_that_came_at_the_last_moment_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = answers(monkeypatch, commitment, "request", None)
    assert prove(destination("commitment"), tmp_path) == "waiting"
    Commitments(tmp_path).report(Report(asked[0][1], ("1.4",), ("1.5",)))
    assert prove(destination("commitment"), tmp_path, last=True) == "missing"


def test_what_cannot_be_asked_at_all_is_unproven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers(monkeypatch, archive, "held", DestinationRefused("no"))
    assert prove(destination("query"), tmp_path) == "unproven"


def test_one_that_is_down_is_asked_again_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = answers(monkeypatch, commitment, "request", DestinationUnavailable("down"))
    for _ in range(2):
        with pytest.raises(DestinationUnavailable):
            prove(destination("commitment"), tmp_path)
    assert len(asked) == 2


def test_what_was_sent_is_read_from_the_files(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"seg\.dcm"):
        Sent.of([tmp_path / "seg.dcm"])
    paths = [result_object(tmp_path / f"{kind}.dcm", kind, "ab") for kind in ("seg", "stl")]
    assert len({uid for _, uid in Sent.of(paths).references}) == 2
