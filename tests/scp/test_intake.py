"""The limits on what is in memory."""

from __future__ import annotations

from sbnode.scp.intake import Intake


def test_one_association_may_hold_one_largest_instance() -> None:
    intake = Intake(100)
    assert intake.take("a", 100)
    assert not intake.take("a", 1)


def test_all_associations_may_hold_two() -> None:
    intake = Intake(100)
    assert intake.take("a", 100)
    assert intake.take("b", 100)
    assert not intake.take("c", 1)


def test_what_was_stored_is_free_again() -> None:
    intake = Intake(100)
    for _ in range(10):
        assert intake.take("a", 100)
        intake.give_back("a", 100)


def test_a_closed_association_holds_nothing() -> None:
    intake = Intake(100)
    intake.take("a", 100)
    intake.take("b", 100)
    intake.forget("a")
    intake.give_back("a", 100)
    assert intake.take("c", 100)
    assert not intake.take("d", 1)
