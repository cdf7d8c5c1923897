"""The status page of a running node in Chromium: it follows what goes on, and a dead letter is retried by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser

from tests.integration.peers import free_port, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node
from tests.integration.status_browser import PHONE, Visitor, chromium, with_password

pytestmark = list(MORTAL)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("script", [True, False])
def test_a_dead_letter_is_seen_and_retried_by_keyboard(tmp_path: Path, browser: Browser, script: bool) -> None:
    port = free_port()
    node = Node(tmp_path, port, attempts=1)
    with_password(node)
    archive: Archive | None = None
    node.start()
    try:
        visitor = Visitor.of(browser, node, java_script_enabled=script)
        visitor.opens_with("faults", "Nothing failed")
        slow = node.will("slow", "300")
        node.send()
        if script:
            visitor.waits_for("running", "Estimating the bone")
            assert "Step 4 of 10, 43 % of it" in visitor.words("running")
        slow.unlink()
        wait_until(lambda: sum(item.state == "dead letter" for item in node.items()) == 2, START_S, "two dead letters")
        if not script:
            visitor.page.get_by_role("link", name="Refresh").click()
        visitor.waits_for("state", "2 new dead letters.")
        assert "Destination archive doesn't take what it is sent." in visitor.words("state")
        archive = Archive(port)
        visitor.tab_to("Retry")
        visitor.page.keyboard.press("Enter")
        visitor.page.get_by_role("status").filter(has_text="Started again.").wait_for()
        wait_until(lambda: sum(archive.received.values()) == 1, START_S, "what was retried is delivered")
        # The name and the ID of the patient of every instance that was sent begin so.
        assert "CANARY" not in visitor.page.content()
        assert "CANARY" not in visitor.context.request.get(f"{visitor.origin}/parts").text()
        assert visitor.faults == []
    finally:
        node.close()
        if archive is not None:
            archive.close()


@pytest.mark.parametrize("script", [True, False])
def test_a_dead_letter_is_dismissed_by_keyboard_and_taken_back(tmp_path: Path, browser: Browser, script: bool) -> None:
    port = free_port()
    node = Node(tmp_path, port, attempts=1)
    with_password(node)
    content = {**yaml.safe_load(node.config.read_text()), "audit": {"path": "audit.jsonl"}}
    node.config.write_text(yaml.safe_dump(content))
    node.start()
    try:
        node.send()
        wait_until(lambda: sum(item.state == "dead letter" for item in node.items()) == 2, 30, "two dead letters")
        visitor = Visitor.of(browser, node, java_script_enabled=script)
        visitor.waits_for("state", "2 new dead letters.")
        visitor.page.set_viewport_size(PHONE)
        assert not visitor.overflows()
        # Nothing is dismissed for no reason, and a choice outlasts what changes on the page meanwhile.
        visitor.tab_to("Dismiss Sending")
        visitor.page.keyboard.press("Enter")
        assert visitor.page.url == f"{visitor.origin}/"
        reason = visitor.page.get_by_label("Why Sending").first
        reason.focus()
        visitor.page.keyboard.press("n")
        assert reason.input_value() == "not_needed"
        visitor.page.keyboard.press("Tab")
        visitor.page.keyboard.press("Enter")
        visitor.page.get_by_role("status").filter(has_text="Dismissed. It is listed as that").wait_for()
        visitor.waits_for("state", "1 new dead letter.")
        listed = node.command("jobs", "list", "--dismissed").stdout
        assert listed.count("no longer needed (dead letter: given up after 1 attempts") == 1
        (item,) = [one for one in node.items() if one.state == "dismissed"]

        # It stays so after both processes were killed, and the rest goes by the command line.
        visitor.page.goto("about:blank")  # it would ask a node that is gone
        node.kill()
        done = node.command("jobs", "dismiss", item.job, "--reason", "test")
        assert done.returncode == 0, done.stderr
        assert '"action": "dismissed"' in done.stderr
        node.start()
        wait_until(lambda: node.log().count('"working"') == 2, START_S, "the worker is ready again")
        visitor.open()
        assert "Idle: nothing to do" in visitor.words("state")
        assert "Nothing failed. 2 dismissed" in visitor.words("faults")
        visitor.tab_to("2 dismissed")
        visitor.page.keyboard.press("Enter")
        visitor.tab_to("Retry")
        visitor.page.keyboard.press("Enter")
        visitor.page.get_by_role("status").filter(has_text="Started again.").wait_for()
        wait_until(lambda: sum(one.state == "dead letter" for one in node.items()) == 1, 30, "it failed again")
        audited = (tmp_path / "audit.jsonl").read_text()
        assert audited.count("failed work dismissed: not_needed") == audited.count("failed work dismissed: test") == 1
        assert "CANARY" not in visitor.page.content() + audited + node.log()
        assert visitor.faults == []
    finally:
        node.close()


def test_a_reason_that_was_chosen_stays_while_what_is_around_it_changes(tmp_path: Path, browser: Browser) -> None:
    """The part is held still while a list may be open, for half a minute at most, and not once one is chosen."""
    node = Node(tmp_path, free_port(), attempts=1)
    with_password(node)
    node.start()
    try:
        node.send()
        wait_until(lambda: sum(item.state == "dead letter" for item in node.items()) == 2, 30, "two dead letters")
        visitor = Visitor.of(browser, node, clock=True)
        visitor.waits_for("state", "2 new dead letters.")
        reason = visitor.page.get_by_label("Why Sending").first
        mine = str(reason.get_attribute("id"))
        focused = "() => [document.activeElement.id, document.activeElement.value]"

        # Somebody looks for a reason in the list that is open.
        reason.focus()
        visitor.page.keyboard.press("Alt+ArrowDown")
        (other,) = [item.id for item in node.items() if item.state == "dead letter" and f"reason-{item.id}" != mine]
        assert node.command("jobs", "dismiss", other, "--reason", "test").returncode == 0
        visitor.waits_for("state", "1 new dead letter.")
        assert "1 dismissed" not in visitor.words("faults")
        visitor.page.clock.fast_forward(31_000)
        visitor.waits_for("faults", "1 dismissed")
        assert visitor.page.evaluate(focused) == [mine, ""]

        # Somebody has chosen one, and does something else with the page in front of them.
        visitor.page.keyboard.press("n")
        assert visitor.page.evaluate(focused) == [mine, "not_needed"]
        assert node.retry(other)
        visitor.waits_for("state", "2 new dead letters.")
        assert "1 dismissed" not in visitor.words("faults")
        assert visitor.page.evaluate(focused) == [mine, "not_needed"]
        assert visitor.faults == []
    finally:
        node.close()


def test_it_fits_a_phone_and_says_when_the_node_is_gone(tmp_path: Path, browser: Browser) -> None:
    node = Node(tmp_path, free_port())
    with_password(node)
    node.start()
    try:
        visitor = Visitor.of(browser, node, PHONE)
        visitor.waits_for("state", "Idle: nothing to do")
        assert not visitor.overflows()
        pause = visitor.page.get_by_role("button", name="Pause updates")
        pause.click()
        assert pause.get_attribute("aria-pressed") == "true"
        with visitor.page.expect_request("**/parts"):
            pause.click()
        node.terminate()
        visitor.page.get_by_role("alert").filter(has_text="The node doesn't answer since").wait_for()
    finally:
        node.close()
