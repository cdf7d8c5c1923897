"""Which versions are remembered, and that what is remembered decides as if all were."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from sbnode.spool.versions import REMEMBERED, History, Version, remembered

FILINGS, SENDERS = "ABCDEFGH", ("MODALITY", "PACS", "VNA", "")
ALL = [Version(filing, sender) for filing in FILINGS for sender in SENDERS]


def spelled(word: str) -> tuple[Version, ...]:
    """A version for every letter, all from one sender."""
    return tuple(Version(letter, "PACS") for letter in word)


def is_late(images: Sequence[Sequence[Version]], came: Version, kept: str) -> bool:
    """The rule, over all that ever happened."""
    replaced = [
        (later.filing, later.sender)
        for versions in images
        for place, later in enumerate(versions)
        if came.filing in {earlier.filing for earlier in versions[:place]}
    ]
    senders = {sender for filing, sender in replaced if filing == kept} or {sender for _, sender in replaced}
    return bool(senders) and came.sender not in senders


@pytest.mark.parametrize("seed", range(40))
def test_what_is_remembered_decides_as_all_that_happened(seed: int) -> None:
    draw = random.Random(seed)
    some = draw.sample(ALL, draw.randint(2, REMEMBERED))
    happened: list[list[Version]] = [[] for _ in range(3)]
    known: list[tuple[Version, ...]] = [()] * len(happened)
    history = History()
    for _ in range(150):
        image = draw.randrange(len(happened))
        came = draw.choice(some)
        happened[image].append(came)
        known[image] = remembered((*known[image], came))
        history.put(str(image), known[image])
    again = History()
    for image, versions in enumerate(known):
        again.put(str(image), versions)
    for came in ALL:
        for kept in FILINGS:
            expected = is_late(happened, came, kept)
            assert history.is_late(came, kept) == again.is_late(came, kept) == expected


@pytest.mark.parametrize(
    ("came", "kept"),
    [
        ("A", "A"),
        ("AB", "AB"),
        ("ABAB", "ABAB"),
        ("ABABABA", "ABBA"),
        ("ABABABAB", "ABAB"),
        ("ABCBCBCAC", "ABCBAC"),
    ],
)
def test_of_each_version_its_first_and_its_last_time_are_remembered(came: str, kept: str) -> None:
    assert remembered(spelled(came)) == spelled(kept)
    step: tuple[Version, ...] = ()
    for version in spelled(came):  # one after the other, as they come
        step = remembered((*step, version))
    assert step == spelled(kept)


def test_of_too_many_versions_those_are_forgotten_that_are_out_of_use_the_longest() -> None:
    many = [Version(str(number), "PACS") for number in range(REMEMBERED + 1)]
    assert remembered(many) == tuple(many)
    back = [*many, many[0]]  # the first is in use again
    assert remembered(back) == tuple(back)
    assert remembered([*back, Version("new", "PACS")]) == (many[0], *many[2:], many[0], Version("new", "PACS"))


def test_instances_that_were_corrected_alike_are_held_once() -> None:
    history = History()
    for number in range(100):
        history.put(str(number), spelled("AB"))
        history.put(f"never corrected {number}", spelled("B"))
    assert history.size == 2
    history.put("0", spelled("ABC"))
    assert history.size == 5
    for number in range(100):
        history.put(str(number), spelled("ABC"))
    assert history.size == 3
    for number in range(100):
        history.put(str(number), spelled("C"))
    assert history.size == 0
    assert not history.is_late(Version("A", "MODALITY"), "C")
