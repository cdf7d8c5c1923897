"""The status page as people have it: in Chromium, by keyboard, with their screen, in front of a node that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.integration.peers import PATIENCE_S, listens, program, wait_until
from tests.integration.small_node import Node

USER, PASSWORD = "radiology", "gei\u00dfbock"
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
FLAGS = ("--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update")
MOST_TABS = 80


def with_password(node: Node) -> None:
    """Have the node ask for a password."""
    (node.folder / "password").write_text(PASSWORD, encoding="utf-8")
    content = yaml.safe_load(node.config.read_text())
    content["status"].update(user=USER, password_file="password")
    node.config.write_text(yaml.safe_dump(content))


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium", "chromium"), args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody at a browser, who logged in. What went wrong in the browser is kept in ``faults``."""

    context: BrowserContext
    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        browser: Browser,
        node: Node,
        viewport: Mapping[str, int] = DESK,
        *,
        origin: str = "",
        clock: bool = False,
        **options: Any,
    ) -> Visitor:
        """Open the page; ``origin`` is where a proxy shows it. With ``clock`` a test can put the browser's clock on."""
        wait_until(lambda: listens(node.status_port), PATIENCE_S, "the page is served")  # after the port for DICOM
        credentials = {"username": USER, "password": PASSWORD}
        context = browser.new_context(http_credentials=credentials, viewport=dict(viewport), **options)
        context.set_default_timeout(1000 * PATIENCE_S)
        visitor = cls(context, context.new_page(), origin or node.status_url)
        if clock:
            visitor.page.clock.install()
        visitor.page.on("console", lambda message: visitor._said(message.type, message.text))
        visitor.page.on("pageerror", lambda error: visitor.faults.append(str(error)))
        visitor.page.on("request", visitor._asked)
        visitor.open()
        return visitor

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.origin + "/"):
            self.faults.append(f"asked {request.url}")

    def open(self) -> None:
        answer = self.page.goto(f"{self.origin}/")
        assert answer is not None
        assert answer.status == 200

    def opens_with(self, part: str, words: str) -> None:
        """Open the page until a part of it holds these words: at first the queue may take long to answer."""

        def holds() -> bool:
            self.open()
            return words in self.words(part)

        wait_until(holds, PATIENCE_S, f"{part}: {words}")

    def words(self, part: str) -> str:
        """The visible words of a part of the page, on one line."""
        return " ".join(self.page.locator(f"#{part}").inner_text().split())

    def waits_for(self, part: str, words: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a part of the page holds these words, without loading it anew."""
        self.page.locator(f"#{part}", has_text=words).wait_for(timeout=1000 * timeout_s)

    def tab_to(self, words: str) -> None:
        """Press Tab until a button or link whose name begins so has the focus; fail unless that can be seen."""
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            name, outline = self.page.evaluate(
                "() => [document.activeElement.innerText, getComputedStyle(document.activeElement).outlineStyle]"
            )
            assert outline != "none", name
            if " ".join(str(name).split()).startswith(words):
                return
        raise AssertionError(f"no Tab leads to {words}")

    def overflows(self) -> bool:
        """Whether the page is wider than the screen."""
        return bool(self.page.evaluate("() => document.documentElement.scrollWidth > innerWidth"))
