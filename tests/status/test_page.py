"""What the page says, in every state of the node."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from sbnode import pipeline
from sbnode.status import words
from sbnode.status.headline import headline
from sbnode.status.overview import Certificate, Disk, Fault, Queue, Receiving, Sent
from tests.status.samples import CREDENTIALS, DAY_S, JOB, NOW_S, Node, busy, overview, result


class Elements(HTMLParser):
    """Every element of a page with its attributes, and that what was opened is closed."""

    VOID = frozenset(("meta", "link", "img", "input", "br"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def page(node: Node) -> str:
    answer = node.client().get("/")
    assert answer.status_code == 200
    return answer.text


def visible(html: str) -> str:
    """The words of a page, without its elements."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


def test_everything_that_goes_on_is_shown(node: Node) -> None:
    text = visible(page(node))
    for words_shown in (
        "Needs attention",
        "1 new dead letter.",
        "pacs doesn't take what it is sent.",
        "From CT1 (2)",
        "735aad6c5582 45 last came 3 s ago",
        "1 complete study waits for the queue to answer",
        "Estimating the bone 43 %",
        "Step 4 of 10",
        "begun 1 min 5 s ago by worker-1",
        "Jobs: making results 7 10 min",
        "Sending to pacs 3 2 h",
        "Dead letter Sending the Segmentation to pacs",
        "Given up after 10 attempts",
        "Rejected Choosing the series of a study No usable series",
        "228 mL of bone, 0.7 % of it inferred",
        "Look at it first: 2.3 mL at 3000 HU and above",
        "On the way: 2 of 4 objects to pacs",
        "Fails The connection was refused",
        "500 GB free of 1.0 TB",
        "skullbase 0.3.0 4abdb78137e8",
        words.moment(NOW_S + 90 * DAY_S),
        "sbnode 0.1.0",
    ):
        assert words_shown in text, words_shown


def test_what_shadow_mode_held_back_is_not_on_its_way(node: Node) -> None:
    node.shows = busy(results=(result(sent=(Sent("pacs", 0, 4, 0, held=4),)),))
    text = visible(page(node))
    assert "Held back in shadow mode: 0 of 4 objects to pacs" in text
    assert "On the way" not in text


def test_what_was_dismissed_is_listed_apart_and_is_no_trouble(node: Node) -> None:
    reason = "no longer needed (dead letter: given up after 10 attempts)"
    left = tuple(Fault(f"{n:032}.a.seg", "dismissed", "Sending", "a", reason, NOW_S) for n in range(23))
    shown = overview(queue=Queue((), (), (), left), results=(result(sent=(Sent("a", 3, 4, 0, dismissed=1),)),))
    assert headline(shown).state == "idle"
    node.shows = shown
    html = page(node)
    text = visible(html)
    for words_shown in (
        "Nothing failed",
        "23 dismissed",
        "No longer needed (dead letter: given up",
        "And 3 older ones: sbnode jobs list --dismissed",
        "Dismissed the rest: 3 of 4 objects to a",
    ):
        assert words_shown in text, words_shown
    assert "On the way" not in text
    assert html.count('action="retry"') == 20
    assert 'action="dismiss"' not in html


def test_a_dead_letter_is_dismissed_for_a_reason_that_must_be_chosen(node: Node) -> None:
    html = page(node)
    (field, *_) = [attributes for tag, attributes in Elements(html).found if tag == "select"]
    assert field["name"] == "reason"
    assert "required" in field
    assert f'<label class="unseen" for="{field["id"]}">Why Sending the Segmentation to pacs of' in html
    options = [attributes["value"] for tag, attributes in Elements(html).found if tag == "option"]
    assert options == 2 * ["", "not_needed", "test"]
    stranger = node.client(address="192.0.2.1", host="node.example.org").get("/").text
    assert "<select" not in stranger
    assert "<form" not in stranger


def test_an_idle_node_says_so_and_shows_no_empty_table(node: Node) -> None:
    node.shows = overview()
    text = visible(page(node))
    for words_shown in ("Idle: nothing to do", "No job is running", "Nothing failed", "There is no result yet"):
        assert words_shown in text
    assert "results stay in the spool" in text
    assert "Needs attention" not in text


def test_without_the_queue_the_page_stays_up_and_says_so(node: Node) -> None:
    node.shows = busy(queue=None)
    text = visible(page(node))
    assert "The database of the queue doesn't answer. Reception goes on" in text
    assert text.count("Not known while the database of the queue doesn't answer") == 2
    assert "228 mL of bone" in text


def test_the_parts_are_those_of_the_page(node: Node) -> None:
    client = node.client()
    whole, parts = client.get("/").text, client.get("/parts").text
    assert parts.strip() in whole
    found = [attributes["id"] for _, attributes in Elements(parts).found if "data-part" in attributes]
    assert found == ["state", "receiving", "running", "queue", "faults", "results", "destinations", "node"]


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_every_value_is_escaped(node: Node) -> None:
    fault = Fault(HOSTILE, "dead letter", HOSTILE, HOSTILE, HOSTILE, NOW_S)
    node.shows = busy(
        ae_title=HOSTILE,
        receiving=Receiving(((HOSTILE, 1),)),
        queue=Queue((), (fault,), ()),
        results=(result(flags=((HOSTILE, HOSTILE),), model=HOSTILE, patient=HOSTILE),),
        workers=(HOSTILE,),
        certificates=(Certificate(HOSTILE, NOW_S),),
    )
    for client in (node.client(), node.client(user=CREDENTIALS, credentials=CREDENTIALS)):
        html = client.get("/?told=" + HOSTILE).text
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert not [a for tag, a in Elements(html).found if any(name.startswith("on") for name in a)]


@pytest.mark.parametrize("shows", [busy(), overview(), busy(queue=None)])
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(node: Node, shows: object) -> None:
    node.shows = shows  # type: ignore[assignment]
    client = node.client()
    html = client.get("/").text
    for tag, attributes in Elements(html).found:
        assert "style" not in attributes
        assert tag not in ("style", "base", "iframe", "object")
        for name in ("src", "href", "action"):
            address = attributes.get(name)
            if address is None:
                continue
            # Relative: a proxy may put the page under a path of its own.
            assert re.match(r"(\./)?[a-z]+(/|$|\?)|\./$|#", address), address
            if not address.startswith(("#", "results/")) and name != "action":
                assert client.get("/" + address.removeprefix("./")).status_code == 200, address
    assert re.findall(r"<script[^>]*>(.+?)</script>", html, re.DOTALL) == []


def test_the_page_can_be_used_by_ear_and_keyboard(node: Node) -> None:
    html = page(node)
    elements = Elements(html).found
    tags = [tag for tag, _ in elements]
    assert tags.count("main") == tags.count("h1") == 1
    assert dict(elements[0][1]) == {"lang": "en"} or ("html", {"lang": "en"}) in elements
    identifiers = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in elements:
        for name in ("aria-labelledby",):
            assert attributes.get(name) is None or attributes[name] in identifiers
        if (attributes.get("href") or "").startswith("#"):
            assert str(attributes["href"])[1:] in identifiers
    assert len(re.findall("<table>", html)) == len(re.findall("<table>\n<caption", html)) == 3
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    names = re.findall(r"<button[^>]*>(.*?)</button>", html, re.DOTALL)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("shows", "state", "said"),
    [
        (overview(), "idle", ()),
        (overview(receiving=Receiving((("CT1", 1),))), "working", ()),
        (busy(queue=Queue()), "working", ()),
        (overview(queue=None), "trouble", ("database",)),
        (overview(workers=()), "trouble", ("No worker",)),
        (overview(workers=(), worker_wanted=False), "idle", ()),
        (overview(disk=Disk(1_900_000_000, 10**12, 2 * 10**9, 5 * 10**8)), "trouble", ("instances are refused",)),
        (overview(disk=Disk(400_000_000, 10**12, 2 * 10**9, 5 * 10**8)), "trouble", ("no job is begun",)),
        (overview(certificates=(Certificate("node", NOW_S + 13 * DAY_S),)), "trouble", ("ends in 13 d",)),
        (overview(certificates=(Certificate("node", NOW_S - 1),)), "trouble", ("has ended",)),
        (busy(), "trouble", ("dead letter", "pacs")),
    ],
)
def test_the_headline_names_what_needs_attention(shows: object, state: str, said: tuple[str, ...]) -> None:
    found = headline(shows)  # type: ignore[arg-type]
    assert found.state == state
    assert len(found.troubles) == len(said)
    assert all(word in text for word, (_, text) in zip(said, found.troubles, strict=True))


def test_many_faults_are_counted_and_not_all_listed(node: Node) -> None:
    faults = tuple(Fault(f"{n:032}.a.seg", "dead letter", "Sending", "a", "refused", NOW_S) for n in range(60))
    node.shows = overview(queue=Queue((), faults, ()))
    html = page(node)
    assert html.count('action="retry"') == 50
    assert "And 10 older ones" in html


def test_every_stage_of_the_pipeline_has_its_words() -> None:
    assert tuple(words.STAGES) == pipeline.STAGES
    assert words.stage("fine") == "fine"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.age(-1), "0 s"),
        (words.age(59.9), "59 s"),
        (words.age(60), "1 min"),
        (words.age(7300), "2 h"),
        (words.age(3 * 86400), "3 d"),
        (words.seconds(59.6), "1 min 0 s"),
        (words.size(999), "999 B"),
        (words.size(1_500_000), "1.5 MB"),
        (words.size(150_000_000_000), "150 GB"),
        (words.size(2.5e12), "2.5 TB"),
        (words.queue("proof.pacs"), "Asking pacs for proof"),
        (words.queue("other"), "other"),
        (words.certificate("node"), "senders"),
        (words.certificate("destination.pacs"), "destination pacs"),
        (words.certificate("audit.syslog"), "the syslog server"),
    ],
)
def test_numbers_are_said_in_words(said: str, expected: str) -> None:
    assert said == expected


def test_a_patient_is_shown_to_who_logged_in_alone(node: Node) -> None:
    node.shows = replace(busy(), results=(result(patient="Doe, Jane, ID 4711"),))
    assert "Doe" not in page(node)
    html = node.client(user=CREDENTIALS, credentials=CREDENTIALS).get("/").text
    assert "<h3>Doe, Jane, ID 4711</h3>" in html
    assert JOB[:12] in html
