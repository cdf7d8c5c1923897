"""When series and studies are complete: evidence, its order, and what is no evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbnode.config import Completion
from sbnode.scp.completion import CompletionTracker, ExpectedCount, Held, Retrieve, SeriesCompletion, StudyCompletion
from sbnode.series import Instance, SeriesKey

STUDY = "1.2.3"
BONE = SeriesKey(STUDY, "1.2.3.1")
SOFT = SeriesKey(STUDY, "1.2.3.2")
SETTINGS = Completion(idle_s=60, study_settle_s=5)


def a_slice(z_mm: float, key: SeriesKey = BONE) -> Instance:
    return Instance(
        path=Path(),
        sop_class_uid="1.2",
        sop_instance_uid=f"{key.series_instance_uid}.{round(z_mm * 1000)}",
        key=key,
        transfer_syntax_uid="1.2",
        orientation=(1, 0, 0, 0, 1, 0),
        position_mm=(0, 0, z_mm),
    )


class Sender:
    """Drives a tracker with a clock of its own."""

    def __init__(
        self,
        settings: Completion = SETTINGS,
        expected: ExpectedCount | None = None,
        retrieve: Retrieve | None = None,
        held: Held | None = None,
    ) -> None:
        self.tracker = CompletionTracker(settings, expected, retrieve, held)
        self.now_s = 1000.0

    def send(self, association: int, *positions_mm: float, key: SeriesKey = BONE) -> None:
        for z_mm in positions_mm:
            self.tracker.received(association, a_slice(z_mm, key), self.now_s)

    def after(self, seconds: float) -> tuple[StudyCompletion, ...]:
        self.now_s += seconds
        return self.tracker.complete(self.now_s)


@pytest.fixture
def sender() -> Sender:
    return Sender()


def complete(*series: SeriesCompletion) -> tuple[StudyCompletion, ...]:
    return (StudyCompletion(STUDY, series),)


def test_a_released_association_with_slices_without_gap_completes_after_settling(sender: Sender) -> None:
    sender.send(1, 0, 1, 2, 3)
    assert sender.after(1) == ()
    sender.tracker.ended(1, released=True)
    assert sender.after(3.9) == ()
    assert sender.after(0.1) == complete(SeriesCompletion(BONE, "association_end", 4))


def test_it_is_announced_once(sender: Sender) -> None:
    sender.send(1, 0, 1, 2, 3)
    sender.tracker.ended(1, released=True)
    assert len(sender.after(5)) == 1
    assert sender.after(1000) == ()


@pytest.mark.parametrize("positions_mm", [(0, 1, 2, 4, 5), (0,), (0, 1), (0, 0, 0)])
def test_a_gap_or_too_few_slices_wait_for_idle(sender: Sender, positions_mm: tuple[float, ...]) -> None:
    sender.send(1, *positions_mm)
    sender.tracker.ended(1, released=True)
    assert sender.after(59.9) == ()
    assert sender.after(0.1) == complete(SeriesCompletion(BONE, "idle", len(positions_mm)))


def test_an_abort_is_no_evidence(sender: Sender) -> None:
    sender.send(1, 0, 1, 2, 3)
    sender.tracker.ended(1, released=False)
    assert sender.after(59.9) == ()
    assert sender.after(0.1) == complete(SeriesCompletion(BONE, "idle", 4))


def test_the_rest_sent_after_an_abort_completes(sender: Sender) -> None:
    sender.send(1, 0, 1)
    sender.tracker.ended(1, released=False)
    sender.send(2, 2, 3)
    sender.tracker.ended(2, released=True)
    assert sender.after(5) == complete(SeriesCompletion(BONE, "association_end", 4))


def test_a_series_waits_for_all_associations_that_send_it(sender: Sender) -> None:
    sender.send(1, 0, 1, 2)
    sender.send(2, 3, 4, 5)
    sender.tracker.ended(1, released=True)
    assert sender.after(10) == ()
    sender.tracker.ended(2, released=True)
    assert sender.after(0) == complete(SeriesCompletion(BONE, "association_end", 6))


def test_a_study_waits_for_all_its_series(sender: Sender) -> None:
    sender.send(1, 0, 1, 2)
    sender.send(2, 0, key=SOFT)
    sender.tracker.ended(1, released=True)
    sender.tracker.ended(2, released=True)
    assert sender.after(59) == ()
    assert sender.after(1) == complete(SeriesCompletion(BONE, "association_end", 3), SeriesCompletion(SOFT, "idle", 1))


def test_another_study_doesn_t_wait(sender: Sender) -> None:
    other = SeriesKey("9.9", "9.9.1")
    sender.send(1, 0, 1, 2)
    sender.send(1, 0, key=other)
    sender.tracker.ended(1, released=True)
    assert [study.study_instance_uid for study in sender.after(5)] == [STUDY]
    assert [study.study_instance_uid for study in sender.after(60)] == ["9.9"]


def test_a_slice_during_settling_opens_the_series_again(sender: Sender) -> None:
    sender.send(1, 0, 1, 2)
    sender.tracker.ended(1, released=True)
    assert sender.after(4) == ()
    sender.send(2, 3)
    assert sender.after(4) == ()
    sender.tracker.ended(2, released=True)
    assert sender.after(1) == complete(SeriesCompletion(BONE, "association_end", 4))


def test_a_late_slice_completes_the_study_again(sender: Sender) -> None:
    sender.send(1, 0, 1, 2)
    sender.tracker.ended(1, released=True)
    assert len(sender.after(5)) == 1
    sender.send(2, 3)
    sender.tracker.ended(2, released=True)
    assert sender.after(59) == ()
    assert sender.after(1) == complete(SeriesCompletion(BONE, "idle", 1, late=True))


def test_an_association_that_goes_on_after_idle_opens_the_study_again(sender: Sender) -> None:
    sender.send(1, 0, 1, 2)
    assert sender.after(60) == complete(SeriesCompletion(BONE, "idle", 3))
    sender.send(1, 3, 4, 5)
    sender.tracker.ended(1, released=True)
    assert sender.after(5) == complete(SeriesCompletion(BONE, "association_end", 3, late=True))


def test_the_end_of_an_association_whose_study_is_done_changes_nothing(sender: Sender) -> None:
    sender.send(1, 0, 1, 2)
    assert len(sender.after(60)) == 1
    sender.tracker.ended(1, released=True)
    sender.tracker.ended(1, released=False)
    assert sender.after(1000) == ()


def test_association_end_can_be_switched_off() -> None:
    sender = Sender(Completion(association_end=False, idle_s=60, study_settle_s=5))
    sender.send(1, 0, 1, 2)
    sender.tracker.ended(1, released=True)
    assert sender.after(59) == ()
    assert sender.after(1) == complete(SeriesCompletion(BONE, "idle", 3))


def test_stored_series_complete_by_idle_time(sender: Sender) -> None:
    sender.tracker.stored(BONE, 7, sender.now_s)
    assert sender.after(59) == ()
    assert sender.after(1) == complete(SeriesCompletion(BONE, "idle", 7))


def test_the_archive_s_count_completes_in_spite_of_gaps_and_aborts() -> None:
    sender = Sender(expected=lambda key: 3)
    sender.send(1, 0, 1, 9)
    sender.tracker.ended(1, released=False)
    assert sender.after(5) == complete(SeriesCompletion(BONE, "count", 3))


def test_fewer_than_the_archive_s_count_wait_for_idle() -> None:
    sender = Sender(expected=lambda key: 4)
    sender.send(1, 0, 1, 2)
    sender.tracker.ended(1, released=True)
    assert sender.after(59) == ()
    assert sender.after(1) == complete(SeriesCompletion(BONE, "idle", 3))


def test_an_archive_that_doesn_t_know_leaves_it_to_the_gaps() -> None:
    sender = Sender(expected=lambda key: None)
    sender.send(1, 0, 1, 2)
    sender.tracker.ended(1, released=True)
    assert sender.after(5) == complete(SeriesCompletion(BONE, "association_end", 3))


def test_without_settling_time_it_completes_at_once() -> None:
    sender = Sender(Completion(study_settle_s=0))
    sender.send(1, 0, 1, 2)
    assert sender.after(0) == ()
    sender.tracker.ended(1, released=True)
    assert len(sender.after(0)) == 1


def test_what_the_archive_has_more_is_asked_for_once_and_waited_for() -> None:
    asked: list[SeriesKey] = []
    sender = Sender(expected=lambda _: 4, retrieve=lambda key: asked.append(key) is None)
    sender.send(1, 0, 1, 2)
    sender.tracker.ended(1, released=True)
    assert sender.after(61) == ()
    assert asked == [BONE]
    assert sender.after(59) == ()
    assert sender.after(2) == complete(SeriesCompletion(BONE, "idle", 3))
    assert asked == [BONE]


def test_what_came_of_it_is_followed_up_until_nothing_new_comes() -> None:
    asked: list[SeriesKey] = []
    sender = Sender(expected=lambda _: 4, retrieve=lambda key: asked.append(key) is None)
    sender.tracker.stored(BONE, 1, sender.now_s)
    sender.send(1, 1)
    assert sender.after(61) == ()
    sender.send(2, 2)
    assert sender.after(61) == ()
    assert asked == [BONE, BONE]
    assert sender.after(61) == complete(SeriesCompletion(BONE, "idle", 3))


@pytest.mark.parametrize(("expected", "promised"), [(3, True), (None, True), (4, False)])
def test_a_whole_series_an_unknown_one_and_one_that_nobody_sends_complete_at_once(
    expected: int | None, promised: bool
) -> None:
    sender = Sender(expected=lambda _: expected, retrieve=lambda _: promised)
    sender.send(1, 0, 1, 2)
    assert sender.after(61) == complete(SeriesCompletion(BONE, "idle", 3))


def test_a_late_slice_completes_what_is_stored_already() -> None:
    sender = Sender(expected=lambda _: 4, held=lambda _: 4, retrieve=lambda _: pytest.fail("all is there"))
    sender.send(1, 3)
    sender.tracker.ended(1, released=True)
    assert sender.after(5) == complete(SeriesCompletion(BONE, "count", 1))


def test_what_an_earlier_process_stored_is_not_asked_for_at_every_start() -> None:
    sender = Sender(expected=lambda _: 9, held=lambda _: 4, retrieve=lambda _: pytest.fail("once was enough"))
    sender.tracker.stored(BONE, 4, sender.now_s)
    assert sender.after(61) == complete(SeriesCompletion(BONE, "idle", 4))


def test_what_is_on_its_way_is_told_newest_first_until_its_study_is_complete(sender: Sender) -> None:
    sender.send(1, 0, 1, 2)
    sender.after(2)
    sender.send(2, 0, key=SOFT)
    sender.tracker.ended(1, released=True)
    told = [(one.key, one.instances, one.last_received_s, one.reason) for one in sender.tracker.open_series()]
    assert told == [(SOFT, 1, 1002.0, None), (BONE, 3, 1000.0, "association_end")]
    sender.tracker.ended(2, released=True)
    assert sender.after(60)
    assert sender.tracker.open_series() == ()
