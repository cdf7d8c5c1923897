"""Whether a destination holds what it accepted: the rules, with fakes for the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sbnode.config import Destination, WebDestination
from sbnode.errors import DestinationRefused, DestinationUnavailable, SpoolError
from sbnode.jobs.proof import Answer, Sent, find_proof
from sbnode.scu import archive, commitment, stow
from sbnode.scu.failure_reason import FailureReason
from sbnode.series import SeriesKey
from sbnode.spool import Commitments, Report
from tests.jobs.fakes import result_object

SENT = Sent(SeriesKey("1.2", "1.3"), (("1.2.840.10008.5.1.4.1.1.7", "1.4"), ("1.2.840.10008.5.1.4.1.1.7", "1.5")))
ALL, SOME = frozenset({"1.4", "1.5", "1.6"}), frozenset({"1.4"})


def destination(confirm: str) -> Destination:
    return Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, confirm=confirm)  # type: ignore[arg-type]


def ask(where: Destination | WebDestination, folder: Path, *, last: bool = False) -> Answer:
    return find_proof(SENT, where, "SBNODE", Commitments(folder), transaction="job.pacs.preview.1", last=last)


def prove(where: Destination | WebDestination, folder: Path, *, last: bool = False) -> str:
    return ask(where, folder, last=last).proof


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


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
    answers(monkeypatch, commitment, "request", lambda _, uid, *__: Report(uid, ("1.4",), (("1.5", 0x0112),)))
    assert ask(destination("commitment"), tmp_path) == Answer(
        "missing", "did not commit to 1 of 2 instances: 0x0112 no such object instance"
    )
    answers(monkeypatch, commitment, "request", lambda _, uid, *__: Report(uid, ("1.4",), ()))
    assert ask(destination("commitment"), tmp_path).reason.endswith("1 of 2 instances: no reason given")
    assert not files(tmp_path)


def reports(monkeypatch: pytest.MonkeyPatch, *reasons: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Have the destination report at once: of each question the reasons of the two instances, 0 for those it holds."""
    left = list(reasons)

    def report(_: object, uid: str, *__: object) -> Report:
        failed = dict(zip(("1.4", "1.5"), left.pop(0), strict=True))
        held = tuple(one for one, reason in failed.items() if not reason)
        return Report(uid, held, tuple((one, reason) for one, reason in failed.items() if reason))

    return answers(monkeypatch, commitment, "request", report)


@pytest.mark.parametrize("number", [0x0110, 0x0131, 0x0213])
def test_what_the_destination_cannot_do_now_is_asked_again_in_another_transaction(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = reports(monkeypatch, (number, number), (number, 0), (0, 0))
    found = [ask(destination("commitment"), tmp_path) for _ in range(3)]
    assert [answer.proof for answer in found] == ["waiting", "waiting", "proven"]
    assert found[1].reason == f"did not commit to 1 of 2 instances: {FailureReason.of(number)}"
    assert f"0x{number:04X} " in found[1].reason
    assert len({uid for _, uid, *_ in asked}) == 3
    assert not files(tmp_path)


def test_when_time_is_up_it_counts_as_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reports(monkeypatch, (0x0213, 0), (0x0213, 0))
    assert prove(destination("commitment"), tmp_path) == "waiting"
    assert ask(destination("commitment"), tmp_path, last=True) == Answer(
        "missing", "did not commit to 1 of 2 instances: 0x0213 resource limitation"
    )
    assert not files(tmp_path)


def test_a_report_that_came_to_another_process_begins_another_transaction_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = answers(monkeypatch, commitment, "request", None)
    assert prove(destination("commitment"), tmp_path) == "waiting"
    Commitments(tmp_path).report(Report(asked[0][1], (), (("1.4", 0x0110), ("1.5", 0x0110))))
    assert [prove(destination("commitment"), tmp_path) for _ in range(2)] == ["waiting", "waiting"]
    assert len({uid for _, uid, *_ in asked}) == len(asked) == 2
    Commitments(tmp_path).report(Report(asked[1][1], ("1.4", "1.5"), ()))
    assert prove(destination("commitment"), tmp_path) == "proven"
    assert not files(tmp_path)


def to_another_process(
    monkeypatch: pytest.MonkeyPatch, folder: Path, number: int
) -> tuple[list[tuple[Any, ...]], Callable[[], None]]:
    """Have nothing reported at once; the second of what is returned reports this reason for what was asked last."""
    asked = answers(monkeypatch, commitment, "request", None)

    def report() -> None:
        Commitments(folder).report(Report(asked[-1][1], (), (("1.4", number), ("1.5", number))))

    return asked, report


@pytest.mark.parametrize("number", [0x0110, 0x0131, 0x0213])
@pytest.mark.parametrize("questions", [1, 2, 3])
def test_what_was_refused_until_time_is_up_is_missing_though_a_query_lists_it(
    questions: int, number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once, a last question that nobody waited for hid the refusals, and the object counted as proven by C-FIND."""
    asked, report = to_another_process(monkeypatch, tmp_path, number)
    queried = answers(monkeypatch, archive, "held", ALL)
    for _ in range(questions):
        assert prove(destination("commitment"), tmp_path) == "waiting"
        report()
    answer = ask(destination("commitment"), tmp_path, last=True)
    assert answer == Answer("missing", f"did not commit to 2 of 2 instances: {FailureReason.of(number)}")
    assert (len(asked), queried, files(tmp_path)) == (questions, [], [])


def test_a_question_without_report_after_a_refusal_is_missing_when_time_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked, report = to_another_process(monkeypatch, tmp_path, 0x0110)
    queried = answers(monkeypatch, archive, "held", ALL)
    assert prove(destination("commitment"), tmp_path) == "waiting"
    report()
    waiting = ask(destination("commitment"), tmp_path)
    assert (waiting.proof, len(asked)) == ("waiting", 2)
    assert waiting.reason.endswith("0x0110 processing failure")
    assert ask(destination("commitment"), tmp_path, last=True) == Answer("missing", waiting.reason)
    assert (len(asked), queried, files(tmp_path)) == (2, [], [])


def test_what_takes_no_more_questions_after_a_refusal_is_not_proven_by_a_query(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, report = to_another_process(monkeypatch, tmp_path, 0x0213)
    queried = answers(monkeypatch, archive, "held", ALL)
    assert prove(destination("commitment"), tmp_path) == "waiting"
    report()
    answers(monkeypatch, commitment, "request", DestinationRefused("no"))
    assert prove(destination("commitment"), tmp_path) == "waiting"
    assert prove(destination("commitment"), tmp_path, last=True) == "missing"
    assert (queried, files(tmp_path)) == ([], [])


def test_what_a_report_names_as_committed_and_as_failed_is_not_proven(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = Report("1.9", ("1.4", "1.5"), (("1.5", 0x0112), ("1.5", 0x0110)))
    answers(monkeypatch, commitment, "request", report)
    assert ask(destination("commitment"), tmp_path) == Answer(
        "missing", "did not commit to 1 of 2 instances: 0x0110 processing failure, 0x0112 no such object instance"
    )


@pytest.mark.parametrize(
    ("number", "name"), [(0x0119, "class / instance conflict"), (0x0122, "referenced SOP class not supported")]
)
def test_what_it_will_never_commit_to_is_a_refusal(
    number: int, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever it says of the other instance: sending or asking again helps neither."""
    for other in (0x0110, 0x0112):
        reports(monkeypatch, (number, other))
        with pytest.raises(DestinationRefused, match=f"'pacs' did not commit to 2 of 2 .*0x{number:04X} {name}"):
            ask(destination("commitment"), tmp_path)
        assert not files(tmp_path)


@pytest.mark.parametrize("other", [0x0110, 0xA700, 0])
def test_what_it_has_not_got_is_sent_again_whatever_it_says_of_the_others(
    other: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reports(monkeypatch, (0x0112, other))
    assert prove(destination("commitment"), tmp_path) == "missing"


def test_a_reason_that_the_standard_does_not_list_says_that_it_is_not_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reports(monkeypatch, (0xA700, 0))
    assert ask(destination("commitment"), tmp_path).reason.endswith("0xA700 reason without a name")


def test_a_last_question_to_one_that_is_down_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reports(monkeypatch, (0x0213, 0))
    assert prove(destination("commitment"), tmp_path) == "waiting"
    answers(monkeypatch, commitment, "request", DestinationUnavailable("down"))
    with pytest.raises(DestinationUnavailable):
        prove(destination("commitment"), tmp_path)
    assert files(tmp_path)
    assert prove(destination("commitment"), tmp_path, last=True) == "missing"  # not asked: it had refused
    assert not files(tmp_path)
    with pytest.raises(DestinationUnavailable):
        prove(destination("commitment"), tmp_path, last=True)
    assert not files(tmp_path)


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
    Commitments(tmp_path).report(Report(asked[0][1], ("1.4",), (("1.5", 0x0112),)))
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
