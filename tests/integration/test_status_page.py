"""The status page of a running node in Chromium: it follows what goes on, and a dead letter is retried by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
